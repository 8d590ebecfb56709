"""Train all combinations and compare them: ``python sweep.py feature=logmel,mfcc model=cnn,resnet seed=0,1,2``."""

import sys

from audio_lightning.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main())
