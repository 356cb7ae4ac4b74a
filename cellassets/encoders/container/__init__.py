"""Encoders in containers: a process in any language that reads a batch of sites and writes one vector per site.

docs/container_encoders.md is the contract. Who starts the process is decided by the caller (`ContainerRunner`).
"""
