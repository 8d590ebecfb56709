"""What is typed: ``train.py`` and ``audio-lightning <command>``."""
