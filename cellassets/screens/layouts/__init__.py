"""Layouts of screens on disk: declared in YAML, chosen for each experiment, and read into one form."""
