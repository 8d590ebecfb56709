"""Table of trials: one row per trial, with all choices, metrics and keys of the configuration."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from audio_lightning.compare.trials import SweepFolder, TrialFolder, TrialStatus, as_text
from audio_lightning.config.saved import read_saved
from audio_lightning.core.errors import FileError
from audio_lightning.core.files import read_frame, write_csv

STATUS = (
    "state", "reason", "hash", "setup", "content", "division", "attempts", "seconds", "peak_memory_mb",
)  # fmt: skip
"""Columns that are copied from the status of a trial."""

FIRST = ("trial", "folder", *STATUS)

TESTED = ("tested_clips", "tested_recordings")
"""Digests of the test clips and test recordings of a trial; see :func:`read_results`."""


def read_results(sweeps: Iterable[SweepFolder]) -> pd.DataFrame:
    """Read the results of sweeps: one row per trial, in the order of the sweeps and of the trial numbers.

    Trials with equal hashes are identical and appear once; a finished one is preferred. A trial with damaged files
    counts as failed, with the damage as its reason; ``attrs["damaged"]`` lists these reasons.

    Returns:
        A table with the columns ``trial``, ``folder`` (relative to the sweep), the columns :data:`STATUS`,
        ``choice.<axis or group>``, every metric under its own name (``seconds`` of the training as
        ``training_seconds``), ``latency_ms``, the digests :data:`TESTED` of the test clips and test recordings (None if
        all finished trials on the same content have the same splits), and ``config.<key>`` for every leaf of the
        configuration. With several sweeps, the first column is ``sweep``. Values keep their Python types; missing
        values are None.
    """
    folders = list(sweeps)
    found: dict[str, dict[str, Any]] = {}
    places: dict[str, TrialFolder] = {}
    damaged = []
    for sweep in folders:
        place = {"sweep": str(sweep.path)} if len(folders) > 1 else {}
        for folder, status in sweep.folders():
            known = found.get(status.hash)
            if known is None or (known["state"] != "done" and status.state == "done"):
                row = {**place, **_row(sweep, folder, status)}
                if row["state"] == "failed" and status.state == "done":
                    damaged.append(row["reason"])
                if known is None or row["state"] == "done":
                    found[status.hash] = row
                    places[status.hash] = folder
        for folder, reason in sweep.lost():
            damaged.append(reason)
            found[str(folder.path)] = {**place, "folder": _place(sweep, folder), "state": "failed", "reason": reason}
    rows = list(found.values())
    done = [row for row in rows if row["state"] == "done"]
    divisions = Counter(content for content, _ in {(row["content"], row["division"]) for row in done})
    for row in done:
        if divisions[row["content"]] > 1:
            try:
                row.update(zip(TESTED, _tested(places[row["hash"]])))
            except FileError as error:
                row.update(state="failed", reason=str(error))
                damaged.append(str(error))
    first = ("sweep", *FIRST) if len(folders) > 1 else FIRST
    names = dict.fromkeys(name for row in rows for name in row)
    choices = [name for name in names if name.startswith("choice.")]
    config = [name for name in names if name.startswith("config.")]
    metrics = [name for name in names if name not in {*first, *choices, *config, "latency_ms", *TESTED}]
    columns = [*first, *choices, *metrics, "latency_ms", *TESTED, *config]
    results = pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns, dtype=object)
    results.attrs["damaged"] = damaged
    return results


def write_results(sweep: SweepFolder) -> pd.DataFrame:
    """Write ``results.csv`` and return the table; None is an empty cell, text is unquoted, other values are JSON."""
    results = read_results([sweep])
    rows = ([None if value is None else as_text(value) for value in row] for row in results.itertuples(index=False))
    write_csv(sweep.results, list(results.columns), rows)
    return results


def _row(sweep: SweepFolder, folder: TrialFolder, status: TrialStatus) -> dict[str, Any]:
    row = {
        "trial": status.number,
        "folder": _place(sweep, folder),
        **{name: getattr(status, name) for name in STATUS},
        **{f"choice.{key}": value for key, value in {**status.groups, **status.choices}.items()},
    }
    try:
        metrics = folder.read_metrics()
        config = _config(folder)
        if status.state == "done" and not (metrics and config):
            raise FileError(f"{folder.path} is damaged: it lacks metrics.json or config.yaml; restore a copy")
        renamed = {{"seconds": "training_seconds"}.get(name, name): value for name, value in metrics.items()}
        latency = folder.read_latency().get("latency_ms")
        return {**row, **renamed, "latency_ms": latency, **config}
    except FileError as error:
        return {**row, "state": "failed" if status.state == "done" else status.state, "reason": str(error)}


def _place(sweep: SweepFolder, folder: TrialFolder) -> str:
    return folder.path.relative_to(sweep.path).as_posix()


def _tested(folder: TrialFolder) -> tuple[str | None, str | None]:
    """Return order-independent digests of the clips and recordings in ``predictions.csv``; None without a test."""
    if not folder.predictions.exists():
        return None, None
    place = ["path", "start_seconds", "end_seconds"]
    table = read_frame(folder.predictions, texts=place, required=place, others=False)
    clips = sorted(table[place].itertuples(index=False, name=None))
    recordings = sorted(table["path"].unique())
    clips_digest, recordings_digest = (
        hashlib.sha256(json.dumps(found).encode()).hexdigest() for found in (clips, recordings)
    )
    return clips_digest, recordings_digest


def _config(folder: TrialFolder) -> dict[str, Any]:
    """Return every leaf of the configuration; empty if the trial has not written it yet."""
    return dict(_leaves("config", read_saved(folder.config))) if os.path.lexists(folder.config) else {}


def _leaves(key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)
