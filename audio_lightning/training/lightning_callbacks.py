"""Check for Lightning callbacks that a configuration cannot use."""

from typing import Any

from audio_lightning.config.targets import LIBRARIES
from audio_lightning.core.errors import ConfigError

TO_DERIVE_FROM = "it is a base class and does nothing itself"
FUNCTION = "it needs a function, which a configuration cannot name"

UNSUITABLE = {
    "BackboneFinetuning": "it needs a layer named backbone; use finetune.freeze and finetune.unfreeze_epoch",
    "BaseFinetuning": TO_DERIVE_FROM,
    "BasePredictionWriter": TO_DERIVE_FROM,
    "BatchSizeFinder": "a resumed run would lose its result; use tuner.scale_batch_size=true",
    "Callback": TO_DERIVE_FROM,
    "Checkpoint": TO_DERIVE_FROM,
    "LambdaCallback": FUNCTION,
    "LearningRateFinder": "it expects the learning rate as an attribute of the module; use tuner.lr_find=true",
    "ModelPruning": "checkpoints would hold masks in addition to the weights and could not be loaded",
    "ProgressBar": TO_DERIVE_FROM,
    "ThroughputMonitor": FUNCTION,
    "WeightAveraging": "it averages nothing without a function; use EMAWeightAveraging, or callbacks=ema",
}
"""Lightning callbacks that a configuration cannot use, with the reason."""


def check_callback(target: Any, *, where: str) -> None:
    """Check that a callback is not one of Lightning's that cannot work with this package.

    Args:
        target: ``_target_`` of a callback.
        where: key of its node.

    Raises:
        ConfigError: the callback is one of :data:`UNSUITABLE`.
    """
    name = str(target).rpartition(".")[2]
    if str(target).startswith(f"{LIBRARIES['callbacks']}.") and name in UNSUITABLE:
        raise ConfigError(f"{where}._target_={target} cannot be used: {UNSUITABLE[name]}")
