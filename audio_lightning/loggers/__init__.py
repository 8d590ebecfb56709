"""TensorBoard, W&B, MLflow and CSV loggers; :mod:`.media` logs figures, tables and clips."""
