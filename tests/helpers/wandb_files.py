"""Reader of local wandb run files, without a server."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER = 7
BLOCK = 32768


@dataclass
class Written:
    """Contents of a run's ``.wandb`` file."""

    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    run: Any = None
    exit_code: int | None = None


def written_runs(folder: Path) -> list[Written]:
    """The offline runs below a run folder, the oldest first; wandb's own process may still be writing their ends."""
    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    deadline = time.monotonic() + 10
    while True:
        runs = [read_run(path) for path in paths]
        if all(run.exit_code is not None for run in runs) or time.monotonic() > deadline:
            return runs
        time.sleep(0.02)


def read_run(path: Path) -> Written:
    found = Written()
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            _update(found.config, record.run.config.update)
        elif kind == "config":
            _update(found.config, record.config.update)
        elif kind == "history":
            found.history.append({})
            _update(found.history[-1], record.history.item)
        elif kind == "summary":
            _update(found.summary, record.summary.update)
        elif kind == "metric":
            found.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            found.artifacts += [entry.path for entry in record.artifact.manifest.contents]
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        *path, name = list(item.nested_key) or [item.key]
        place = values
        for key in path:
            place = place.setdefault(key, {})
        place[name] = json.loads(item.value_json)


def _records(data: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: in blocks, each in one or several chunks, after the file's own header."""
    assert data[:4] == b":W&B"
    place, record = HEADER, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # complete, or the last chunk
            yield record
            record = b""
