"""From a portfolio of candidates to one classifier: out-of-fold predictions, ensemble selection, label errors."""
