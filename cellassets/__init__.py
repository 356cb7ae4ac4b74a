"""Maps of cell biology as data assets: the science and the storage, without an orchestrator.

Dagster code lives in the sibling packages `assets`, `resources` and `sensors`; `cellassets.definitions` puts
them together. Everything else here runs from a script or a notebook.
"""
