"""Where artefacts are stored, how they are published, and the catalogue that lists them."""
