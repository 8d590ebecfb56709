"""Writers of media items, one per Lightning logger: a new logger is one more registered function."""

import io
import math
import tempfile
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from audio_lightning.core.files import to_json
from audio_lightning.loggers.loggers import RunLogger
from audio_lightning.loggers.media.items import Cell, Confusion, Curves, Gallery, Item, Table

MAX_TEXT_ROWS = 200
"""Maximum number of table rows logged to TensorBoard as text."""

MAX_CHART_ROWS = 10_000
"""Maximum number of table rows drawn by a W&B chart; wandb drops the others."""


@singledispatch
def show(logger: Logger, item: Item, epoch: int) -> None:
    """Log an item after a number of epochs; do nothing if the logger supports only numbers."""


def shows_media(logger: Logger) -> bool:
    """Return whether a logger supports media."""
    return show.dispatch(type(logger)) is not show.dispatch(object)


@show.register
def _(logger: RunLogger, item: Item, epoch: int) -> None:
    logger.attempt(lambda: show(logger.backend, item, epoch))


@show.register
def _(logger: TensorBoardLogger, item: Item, epoch: int) -> None:
    writer = logger.experiment
    table = item.table if isinstance(item, Gallery) else item
    if isinstance(table, Table):
        lines = [list(table.columns), ["---"] * len(table.columns), *table.rows[:MAX_TEXT_ROWS]]
        writer.add_text(table.name, "\n".join("| " + " | ".join(map(_markdown, line)) + " |" for line in lines), epoch)
    if not isinstance(item, Table):
        writer.add_image(item.name, np.asarray(_image(item.png).convert("RGB")), epoch, dataformats="HWC")
    if isinstance(item, Gallery):
        for number, clip in enumerate(item.clips, 1):
            writer.add_audio(f"{item.name}/{number:02d} {clip.caption}", clip.samples[None], epoch, item.sample_rate)


@show.register
def _(logger: MLFlowLogger, item: Item, epoch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, item.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = item.table if isinstance(item, Gallery) else item
        if isinstance(table, Table):
            content = {"columns": list(table.columns), "data": [[_json(cell) for cell in row] for row in table.rows]}
            path.with_suffix(".json").write_text(to_json(content), encoding="utf-8")
        if not isinstance(item, Table):
            path.with_suffix(".png").write_bytes(item.png)
        if isinstance(item, Gallery):
            import soundfile

            path.mkdir()
            for number, clip in enumerate(item.clips, 1):
                soundfile.write(path / f"{number:02d}.wav", clip.samples, item.sample_rate, subtype="PCM_16")
                (path / f"{number:02d}.png").write_bytes(clip.png)
        logger.experiment.log_artifacts(logger.run_id, folder)


@show.register
def _(logger: WandbLogger, item: Item, epoch: int) -> None:
    logger.experiment.log({"epoch": epoch, **_wandb_media(item)})


def _wandb_media(item: Item) -> dict[str, Any]:
    import wandb

    if isinstance(item, Table):
        return {item.name: wandb.Table(columns=list(item.columns), data=[list(row) for row in item.rows])}
    media: dict[str, Any] = {f"{item.name}_picture": wandb.Image(_image(item.png))}
    if isinstance(item, Gallery):
        media[item.name] = table = wandb.Table(columns=["audio", "spectrogram", *item.table.columns])
        for clip, cells in zip(item.clips, item.table.rows):
            sound = wandb.Audio(clip.samples, sample_rate=item.sample_rate, caption=clip.caption)
            table.add_data(sound, wandb.Image(_image(clip.png)), *cells)
        # Also as media of the run: wandb keeps media in table cells outside the run's folder until they are sent.
        sounds = [wandb.Audio(clip.samples, item.sample_rate, clip.caption) for clip in item.clips]
        media[f"{item.name}_audio"] = sounds
    if isinstance(item, Curves) and len(item.points) <= MAX_CHART_ROWS:
        x, y = item.axes
        points = wandb.Table(columns=["class", x, y], data=[list(point) for point in item.points])
        labels = {"title": item.title, "x-axis-title": x, "y-axis-title": y}
        fields = {"x": x, "y": y, "class": "class"}
        media[item.name] = wandb.plot_table("wandb/area-under-curve/v0", points, fields, labels)
    if isinstance(item, Confusion) and item.counts.size <= MAX_CHART_ROWS:
        pairs = [pair for pair, count in np.ndenumerate(item.counts) for _ in range(count)]
        media[item.name] = wandb.plot.confusion_matrix(
            y_true=[label for label, _ in pairs], preds=[guess for _, guess in pairs], class_names=list(item.classes)
        )
    return media


def _image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def _markdown(cell: Cell) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("|", "\\|")


def _json(cell: Cell) -> Cell | None:
    """Replace NaN by None, because JSON has no NaN."""
    return None if isinstance(cell, float) and math.isnan(cell) else cell
