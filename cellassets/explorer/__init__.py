"""The map explorer: a web application for biologists, from a small server or as files that need none.

The page asks for *documents* by path (docs/explorer.md lists them). The server makes them when they are asked for; a
static export writes them beforehand. The page is the same in both, and so is the code that makes the documents. Its
sources are in `web/`, the built files in `bundle/`.
"""
