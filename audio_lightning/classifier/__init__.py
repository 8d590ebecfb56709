"""The LightningModule that trains every architecture, and its parts: factory, optimizers, schedulers, checkpoints."""
