"""Reports: HTML pages of data sets, sweeps and fits, model cards, and leaderboards on the terminal."""
