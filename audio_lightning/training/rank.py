"""``python -m audio_lightning.training.rank``: one more process of a training, as :mod:`.ranks` starts it."""

import json
import os
import sys
import threading
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config import trusting
from audio_lightning.core.errors import UserError
from audio_lightning.run_folder import RunFolder


def main() -> int:
    """Take the training's description from the standard input, and train along."""
    order = json.load(sys.stdin)
    threading.Thread(target=_end_with, args=(order["parent"],), daemon=True).start()
    # After the watch has begun, since it takes seconds.
    from audio_lightning.training.run import train

    config = OmegaConf.create(order["config"])
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    try:
        with trusting(config.get("trusted_modules")):  # as the first process does
            train(config, RunFolder(Path(order["folder"])), resume=order["resume"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _end_with(parent: int) -> None:
    """End when the first process is no more, whatever it died of."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
