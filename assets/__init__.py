"""Dagster assets and their checks. Each asset finds its partition, calls one library function and returns metadata."""

import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)  # of partition mappings and backfill policies; pinned
