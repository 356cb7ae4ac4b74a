"""What a plate is: landing layouts, the manifest of an experiment, image files, quality measures of a site."""
