"""Automatic configuration: measure a data set and derive the settings of its training."""

from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.api.training import PathLike

if TYPE_CHECKING:
    from audio_lightning.fit.plan import Plan


def plan(*overrides: str, folder: PathLike | None = None, config_dir: PathLike | None = None) -> "Plan":
    """Measure a data set and derive the settings of its training, without training it.

    The only computation with a network is a few training steps on noise, to measure their time and memory.

    Args:
        *overrides: such as ``"data=folder"`` and ``"data.root=DIR"``; settings that are given are kept.
        folder: folder for ``experiment/plan.yaml``, a recipe for ``config_dir=folder`` and ``"experiment=plan"``; None
            writes no file.
        config_dir: see :func:`compose`.

    Raises:
        ConfigError: an invalid override, or settings that do not go together.
        DataError: recordings that do not form a data set of this kind, or cannot be split.

    Example:
        >>> import audio_lightning as al
        >>> plan = al.plan("data=folder", "data.root=recordings", folder="plan")  # doctest: +SKIP
        >>> plan.choices  # doctest: +SKIP
        >>> run = al.train(
        ...     "data=folder", "data.root=recordings", "experiment=plan", config_dir="plan"
        ... )  # doctest: +SKIP
    """
    from audio_lightning.config import quote_paths, user_extensions
    from audio_lightning.fit.plan import make_plan, write_plan

    lines = quote_paths(overrides)
    with user_extensions(lines, config_dir):
        found = make_plan(lines)
        if folder is not None:
            write_plan(found, Path(folder).expanduser())
    return found
