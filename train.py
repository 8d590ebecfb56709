"""Train an audio classifier: ``python train.py model=resnet feature=mfcc``."""

import sys

from audio_lightning.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
