"""Command line: ``train.py``, ``sweep.py`` and ``audio-lightning <command>``."""
