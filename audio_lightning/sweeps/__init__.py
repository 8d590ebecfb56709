"""Sweeps: expand a grid or run a search, plan and run the trials, refit the best one."""
