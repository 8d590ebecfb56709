"""Cache of recordings: decoded once per machine, memory-mapped, recognized by file status or content."""
