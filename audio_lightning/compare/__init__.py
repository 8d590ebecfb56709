"""Comparison of finished trials: results table, statistics, leaderboard."""
