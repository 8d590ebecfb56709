"""Data sources: each builds a manifest from the files of one layout."""
