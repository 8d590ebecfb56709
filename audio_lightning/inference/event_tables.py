"""Writers of event tables: Raven selection tables, Audacity label tracks, CSV, JSON Lines and Parquet."""

import contextlib
import csv
import sys
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from audio_lightning.audio import describe
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.files import to_json
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.inference.events import Event

Format = Literal["raven", "audacity", "csv", "jsonl", "parquet"]

ENDINGS: dict[Format, str] = {
    "raven": ".detections.selections.txt",
    "audacity": ".detections.labels.txt",
    "csv": ".detections.csv",
    "jsonl": ".detections.jsonl",
    "parquet": ".detections.parquet",
}
"""Suffixes of the table of one recording; ``data=annotations`` finds such text and CSV files next to the recording."""

BY_SUFFIX: dict[str, Format] = {".txt": "raven", ".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
"""Default format of a file, by its suffix."""

COLUMNS = ("path", "start_seconds", "end_seconds", "label", "confidence")

RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "Begin Path", "File Offset (s)", "Annotation", "Confidence"),
)

ROWS_OF_A_GROUP = 10_000
"""Rows of a Parquet row group, which are collected in memory before they are written."""

_AS_SPACES = str.maketrans("\t\r\n", "   ")


class EventTable:
    """Writer of the events of one recording after the other; a context manager.

    Tables are in UTF-8. Bytes of a path that are not UTF-8 become escape sequences
    (:func:`audio_lightning.core.utf8.as_utf8`).

    Args:
        path: the file; None for stdout.

    Raises:
        ConfigError: a missing package, or a format that cannot be written to stdout.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._recording = Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""

    def begin(self, recording: Path) -> None:
        """Start a recording: the following events belong to it."""
        self._recording = recording

    def write(self, event: Event) -> None:
        """Write an event."""
        raise NotImplementedError

    def _row(self, event: Event) -> dict[str, Any]:
        """Return the cells of an event by :data:`COLUMNS`; times are rounded to microseconds."""
        times = round(event.start_seconds, 6), round(event.stop_seconds, 6)
        return dict(zip(COLUMNS, (as_utf8(self._recording), *times, event.label, round(event.confidence, 4))))


class _Text(EventTable):
    """Text table; each line is flushed, so that other programs can read it at once."""

    _header = ""
    _file: IO[str]

    def __enter__(self) -> Self:
        opened = self._path and self._path.open("w", encoding="utf-8", newline="")
        self._file = opened or sys.stdout
        self._write_line(self._header)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._path:
            self._file.close()

    def _write_line(self, line: str) -> None:
        self._file.write(line)
        self._file.flush()


class _Csv(_Text):
    _header = ",".join(COLUMNS) + "\n"

    def write(self, event: Event) -> None:
        row = self._row(event)
        row |= {name: f"{row[name]:.6f}" for name in ("start_seconds", "end_seconds")}
        row["confidence"] = f"{event.confidence:.4f}"
        csv.writer(self._file, lineterminator="\n").writerow(row.values())
        self._file.flush()


class _JsonLines(_Text):
    def write(self, event: Event) -> None:
        self._write_line(to_json(self._row(event)) + "\n")


class _Audacity(_Text):
    def write(self, event: Event) -> None:
        label = event.label.translate(_AS_SPACES)
        self._write_line(f"{event.start_seconds:.6f}\t{event.stop_seconds:.6f}\t{label}\n")


class _Raven(_Text):
    """Raven selection table: times continue from one recording to the next, file offsets start at 0 in each."""

    _header = "\t".join(RAVEN_COLUMNS) + "\n"
    _selections = 0
    _begin_seconds = _end_seconds = _nyquist = 0.0

    def begin(self, recording: Path) -> None:
        super().begin(recording)
        self._begin_seconds = self._end_seconds
        with contextlib.suppress(AudioError):  # an unreadable recording has no events
            info = describe(recording)
            self._end_seconds += info.duration_seconds
            self._nyquist = info.sample_rate / 2

    def write(self, event: Event) -> None:
        self._selections += 1
        begin, end = self._begin_seconds + event.start_seconds, self._begin_seconds + event.stop_seconds
        cells = [str(self._selections), "Spectrogram 1", "1", f"{begin:.6f}", f"{end:.6f}", "0", f"{self._nyquist:g}"]
        cells += [as_utf8(self._recording.name), as_utf8(self._recording.absolute()), f"{event.start_seconds:.6f}"]
        cells += [event.label, f"{event.confidence:.4f}"]
        self._write_line("\t".join(cell.translate(_AS_SPACES) for cell in cells) + "\n")


class _Parquet(EventTable):
    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        if path is None:
            raise ConfigError("--format parquet: cannot be written to stdout; give --output FILE.parquet, or a folder")
        try:
            self._arrow: Any = import_module("pyarrow")
            self._parquet: Any = import_module("pyarrow.parquet")
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"--format parquet: {error.name} is not installed; pip install 'audio-lightning[parquet]'"
            ) from error
        text, number = self._arrow.string(), self._arrow.float64()
        self._schema = self._arrow.schema(list(zip(COLUMNS, (text, number, number, text, number))))
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        assert self._path is not None
        self._file = self._path.open("wb")  # pyarrow encodes names as strict UTF-8
        self._writer = self._parquet.ParquetWriter(self._file, self._schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._write_rows()
            self._writer.close()
        finally:
            self._file.close()

    def write(self, event: Event) -> None:
        self._rows.append(self._row(event))
        if len(self._rows) >= ROWS_OF_A_GROUP:
            self._write_rows()

    def _write_rows(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


_TABLES: dict[Format, type[EventTable]] = {
    "raven": _Raven,
    "audacity": _Audacity,
    "csv": _Csv,
    "jsonl": _JsonLines,
    "parquet": _Parquet,
}


def event_table(path: Path | None, kind: Format) -> EventTable:
    """Create the writer of a format.

    Args:
        path: the file; None for stdout.
        kind: the format.

    Raises:
        ConfigError: see :class:`EventTable`.
    """
    return _TABLES[kind](path)
