"""Configuration: compose overrides, check the result, and build objects from it.

Nothing here imports torch or Lightning, so that a mistake is reported before they are loaded.
"""

from audio_lightning.config.compose import change, compose, expand_multirun, user_extensions
from audio_lightning.config.location import choices, config_dir
from audio_lightning.config.override_checks import UnknownKey
from audio_lightning.config.overrides import parse_overrides, quote_paths
from audio_lightning.config.saved import as_plain
from audio_lightning.config.targets import build, resolve
from audio_lightning.config.trust import trusting
from audio_lightning.config.validate import absolutize_paths, check_config, check_unvalidated

__all__ = [
    "UnknownKey",
    "absolutize_paths",
    "as_plain",
    "build",
    "change",
    "check_config",
    "check_unvalidated",
    "choices",
    "compose",
    "config_dir",
    "expand_multirun",
    "parse_overrides",
    "quote_paths",
    "resolve",
    "trusting",
    "user_extensions",
]
