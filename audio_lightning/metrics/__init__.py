"""Metrics of one evaluation: torchmetrics objects, exact over any number of batches and processes."""
