"""``python -m audio_lightning``: the same as ``audio-lightning``."""

from audio_lightning.cli.main import main

if __name__ == "__main__":
    main()
