"""Aliases that the production gate uses."""

CHAMPION = "champion"  # the model in production
CANDIDATE = "candidate"  # the model to judge next
