"""From finished trials to a defensible statement: results, statistics, leaderboard."""
