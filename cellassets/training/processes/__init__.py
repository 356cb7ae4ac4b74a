"""A training in several processes: on the devices of one node, or of several nodes.

`launch` is called by the stage. It writes the task into the folder of the attempt, starts an `agent`, and passes on
what the processes report. The agent is torchrun's: one per node, it starts a `process` for every device of the node,
and ends all of them if one fails. The agents of several nodes find each other by torchrun's rendezvous.
"""
