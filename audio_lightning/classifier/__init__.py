"""The LightningModule that trains every model, and its parts: factory, optimizers, schedulers, checkpoints."""
