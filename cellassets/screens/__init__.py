"""Screens as they land: the landing zone, folder layouts, image files, and the manifest of an experiment."""
