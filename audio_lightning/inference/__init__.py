"""Inference: prediction, evaluation, detection, explanation and export with trained classifiers."""
