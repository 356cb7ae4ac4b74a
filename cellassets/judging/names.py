"""Aliases that the production gate goes by."""

CHAMPION = "champion"  # the model in production
CANDIDATE = "candidate"  # the model to judge next
