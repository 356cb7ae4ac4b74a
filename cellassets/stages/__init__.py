"""Stages: one file per asset, named like the asset. A stage says what would be made (`plan`) and makes it (`make`).

`stage` defines stages, `catalogue` lists them in the order of the flow, `snapshot` gives plans access to a deployment,
`state` says whether a partition is current, due or waiting, and `carry_out` makes a partition.
"""
