"""Automatic training within a time budget: portfolio of candidates, ensemble selection, label errors."""
