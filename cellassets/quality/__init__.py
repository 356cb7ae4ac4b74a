"""Quality of sites: measures, flags and pictures of whole plates."""
