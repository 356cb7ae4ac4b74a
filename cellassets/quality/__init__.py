"""Quality of sites: measures, flags and pictures."""
