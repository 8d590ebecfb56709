"""Plans: what training follows from what recordings are like."""

from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.api.training import PathLike

if TYPE_CHECKING:
    from audio_lightning.fit.plan import Plan


def plan(*overrides: str, folder: PathLike | None = None, config_dir: PathLike | None = None) -> "Plan":
    """Measure recordings, and settle what training follows from them; nothing is trained but some steps on noise.

    Args:
        *overrides: such as ``"data=folder"`` and ``"data.root=DIR"``, and what is given already.
        folder: the plan is written to ``experiment/plan.yaml`` in it, a recipe for ``config_dir=folder`` and
            ``"experiment=plan"``. None: it is not written.
        config_dir: see :func:`audio_lightning.api.training.compose`.

    Raises:
        ConfigError: a mistake in what was asked for, or choices that do not go together.
        DataError: recordings that are no data set of this kind, or cannot be divided.
    """
    from audio_lightning.config import quote_paths, user_extensions
    from audio_lightning.fit.plan import make_plan, write_plan

    lines = quote_paths(overrides)
    with user_extensions(lines, config_dir):
        found = make_plan(lines)
        if folder is not None:
            write_plan(found, Path(folder).expanduser())
    return found
