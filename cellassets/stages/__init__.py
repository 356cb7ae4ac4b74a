"""Stages: one file per asset, named like the asset. A stage says what would be made (`plan`) and makes it (`make`).

`stage` says what a stage is, `catalogue` lists all of them in the order of the flow, `snapshot` is what a plan may look
at, `state` says whether a partition is current, due or waiting, and `carry_out` makes one.
"""
