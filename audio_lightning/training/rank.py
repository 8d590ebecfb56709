"""Entry point of further training processes, ``python -m audio_lightning.training.rank``.

:mod:`audio_lightning.distributed.ranks` starts one per device.
"""

import json
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config import trusting
from audio_lightning.core.errors import UserError
from audio_lightning.core.parent import end_with_parent
from audio_lightning.run_folder import RunFolder


def main() -> int:
    """Read the job from the standard input, and train as one process of several."""
    job = json.load(sys.stdin)
    end_with_parent(job["parent"])
    # After that, because this import takes seconds.
    from audio_lightning.training.run import train

    config = OmegaConf.create(job["config"])
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    try:
        with trusting(config.get("trusted_modules")):  # as the first process does
            train(config, RunFolder(Path(job["folder"])), resume=job["resume"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
