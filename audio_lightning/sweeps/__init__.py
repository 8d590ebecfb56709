"""From a grid to finished trials: expand, plan, run, search, refit."""
