"""Where artefacts are stored, how they are published, and the catalogue that lists them."""

from fsspec import register_implementation

# one client for every UPath on gs://, in this process and in those that unpickle such a path
register_implementation("gs", "cellassets.storage.objects.ObjectStore", clobber=True)
