"""Train, validation and test splits, and the leakage guard."""
