"""Questions to one map: neighbours with p-values, replicates, doses, guides, and what is enriched among some rows.

Pure: tables of one map in, tables out. `cellassets.access` reads the tables from a lake, for Python; the explorer shows
the answers in a browser.
"""

from cellassets.exploring.explored_map import ExploredMap

__all__ = ["ExploredMap"]
