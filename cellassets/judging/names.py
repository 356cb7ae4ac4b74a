"""Aliases of models that the production gate reads."""

CHAMPION = "champion"  # the model in production
CANDIDATE = "candidate"  # the model to judge next
