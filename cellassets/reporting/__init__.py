"""Plots and pages for people: leaderboard and model report."""
