"""Published networks: frozen as feature extractors (embeddings), or as backbones for fine-tuning."""
