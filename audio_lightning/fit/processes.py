"""Parts of a fit that import heavy libraries; call each in a separate process."""

from pathlib import Path

from audio_lightning.fit.survey import Survey
from audio_lightning.fit.timing import Untimed
from audio_lightning.fit.tried import Tried


def survey(
    lines: list[str], candidates: dict[str, list[str]], folder: Path, config_dir: str | None
) -> tuple[Survey, dict[str, Untimed]]:
    """See :func:`audio_lightning.fit.surveying.survey`."""
    from audio_lightning.fit import surveying

    return surveying.survey(lines, candidates, folder=folder, config_dir=config_dir)


def conclude(folder: Path, tried: Tried, spent: float) -> str:
    """See :func:`audio_lightning.fit.conclude.conclude`."""
    from audio_lightning.fit import conclude

    return conclude.conclude(folder, tried, spent)


def finish(
    folder: Path, lines: list[str], config_dir: str | None, models: dict[str, str], note: str, spent: float
) -> None:
    """See :func:`audio_lightning.fit.conclude.finish`."""
    from audio_lightning.fit import conclude

    conclude.finish(folder, lines, config_dir, models, note, spent)
