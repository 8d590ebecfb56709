"""Callbacks of Lightning that a configuration cannot use, and why."""

from typing import Any

from audio_lightning.config.targets import LIBRARIES
from audio_lightning.core.errors import ConfigError

TO_DERIVE_FROM = "it does nothing itself and is made to be derived from"
FUNCTION = "it needs a function, which a configuration cannot name"

UNSUITABLE = {
    "BackboneFinetuning": "it asks for a layer named backbone; finetune.freeze and finetune.unfreeze_epoch take any",
    "BaseFinetuning": TO_DERIVE_FROM,
    "BasePredictionWriter": TO_DERIVE_FROM,
    "BatchSizeFinder": "a resumed run would not know what it found; use tuner.scale_batch_size=true",
    "Callback": TO_DERIVE_FROM,
    "Checkpoint": TO_DERIVE_FROM,
    "LambdaCallback": FUNCTION,
    "LearningRateFinder": "it looks for the rate in the module, and it is in the optimizer; use tuner.lr_find=true",
    "ModelPruning": "checkpoints would hold masks beside the weights, and nothing could load them",
    "ProgressBar": TO_DERIVE_FROM,
    "ThroughputMonitor": FUNCTION,
    "WeightAveraging": "it averages nothing unless it is given a function; use EMAWeightAveraging, or callbacks=ema",
}
"""Callbacks of Lightning that a configuration cannot use, and why."""


def check_callback(target: Any, *, where: str) -> None:
    """Refuse a callback of Lightning that cannot work here.

    Args:
        target: ``_target_`` of a callback.
        where: key of its node.

    Raises:
        ConfigError: with the reason.
    """
    name = str(target).rpartition(".")[2]
    if str(target).startswith(f"{LIBRARIES['callbacks']}.") and name in UNSUITABLE:
        raise ConfigError(f"{where}._target_={target} cannot be used: {UNSUITABLE[name]}")
