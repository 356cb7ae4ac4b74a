"""Models compared with one another: paired differences, leaderboard, production gate."""
