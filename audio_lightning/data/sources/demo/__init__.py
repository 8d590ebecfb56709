"""Generated demo recordings in the layout of UrbanSound8K."""
