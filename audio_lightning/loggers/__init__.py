"""TensorBoard, W&B, MLflow and CSV loggers, and what they show beside metrics."""
