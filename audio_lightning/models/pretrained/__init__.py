"""Published networks that are used as they are: what they make of a clip is its feature."""
