"""Runs in TensorBoard: event files in the run folder."""

import io
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from audio_lightning.core.task import metric_names
from audio_lightning.loggers.loggers import DashboardLogger, Row, flat
from audio_lightning.loggers.media.items import Gallery, Item, Picture, Table

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MOST_ROWS = 200
"""Rows of a table that are written as text."""


class TensorBoardLogger(DashboardLogger):
    """A run in TensorBoard.

    Metrics of epochs lie over the epoch, those of steps (and learning rates) over the step. Under ``HPARAMS`` a run is
    its configuration and ``results/...``, the numbers of its ``metrics.json``.

    Args:
        save_dir: the run folder.
        name: of the folder in it that the event files are written to.
        flush_seconds: longest time between something being logged and being seen.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """

    title = "TensorBoard"

    def __init__(self, save_dir: str, name: str = "tensorboard", flush_seconds: int = 30) -> None:
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError("No module named 'tensorboard'")
        super().__init__(save_dir)
        self._path = Path(save_dir) / name
        self._flush_seconds = flush_seconds
        self._writer: SummaryWriter | None = None
        self._hook = threading.excepthook

    @property
    def name(self) -> str:
        """Kind of the logger."""
        return "tensorboard"

    @property
    def version(self) -> str:
        """There is one a run."""
        return ""

    @property
    def writer(self) -> "SummaryWriter":
        """What writes the event file, which is made when it is first asked for."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # What its thread fails with is raised here as well, and said in a line.
            self._hook, threading.excepthook = threading.excepthook, self._except_writers
            self._writer = SummaryWriter(str(self._path), flush_secs=self._flush_seconds)
        return self._writer

    def begin(self, *, multilabel: bool) -> None:
        """Write the configuration of the run, as text and for comparison with other runs."""
        if not self.folder.config.is_file():
            return
        from torch.utils.tensorboard.summary import hparams

        config = self.folder.read_config()
        self.writer.add_text("config", f"```yaml\n{OmegaConf.to_yaml(config, resolve=True)}\n```", 0)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        values = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in flat(plain).items()
        }
        names = metric_names(multilabel=multilabel)
        measured = {f"results/{part}/{name}": None for part in ("validation", "test") for name in names}
        for summary in hparams(values, measured):
            self.writer._get_file_writer().add_summary(summary)

    def write_row(self, row: Row) -> None:
        """Add a point a value."""
        for name, value, place in row.points():
            self.writer.add_scalar(name, value, place)

    def write_facts(self, facts: Mapping[str, float]) -> None:
        """Add a point a number."""
        for name, value in facts.items():
            self.writer.add_scalar(f"results/{name}", value, 0)

    def write_item(self, item: Item, step: int) -> None:
        """Add the picture, the text of a table, and sound to play."""
        if isinstance(item, Table):
            self._write_table(item, step)
            return
        self._write_picture(item, step)
        if isinstance(item, Gallery):
            self._write_table(item.table, step)
            for number, clip in enumerate(item.clips, 1):
                self.writer.add_audio(
                    f"{item.name}/{number:02d} {clip.caption}", clip.samples[None], step, item.sample_rate
                )

    def write_results(self, metrics: Mapping[str, Any]) -> None:
        """Add a point a number."""
        for name, value in metrics.items():
            if isinstance(value, (int, float)):
                self.writer.add_scalar(f"results/{name}", value, metrics["epochs"])

    def end(self, exit_code: int) -> None:
        """Write what is left."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            finally:
                if threading.excepthook == self._except_writers:
                    threading.excepthook = self._hook

    def _except_writers(self, failure: threading.ExceptHookArgs) -> None:
        if type(failure.thread).__name__ != "_AsyncWriterThread":
            self._hook(failure)

    def _write_picture(self, picture: Picture, step: int) -> None:
        from PIL import Image

        with Image.open(io.BytesIO(picture.png)) as image:
            self.writer.add_image(picture.name, np.array(image.convert("RGB")), step, dataformats="HWC")

    def _write_table(self, table: Table, step: int) -> None:
        lines = [list(table.columns), ["---"] * len(table.columns), *table.rows[:MOST_ROWS]]
        text = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        self.writer.add_text(table.name, text, step)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
