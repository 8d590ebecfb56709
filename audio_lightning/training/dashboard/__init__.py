"""What a run shows, beside its metrics, where people look at runs: computed once, and sent to every such logger."""
