"""Trials as a table: one row each, with every choice, metric and key of the configuration."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd
import yaml

from audio_lightning.compare.trials import SweepFolder, TrialFolder, TrialStatus, as_text
from audio_lightning.errors import ConfigError
from audio_lightning.files import read_json, write_csv

STATUS = (
    "state", "reason", "hash", "setup", "content", "division", "attempts", "seconds", "peak_memory_mb",
)  # fmt: skip
"""What is taken from the status of a trial as it is."""

FIRST = ("trial", "folder", *STATUS)

TESTED = ("tested_clips", "tested_recordings")
"""Digests of what a trial was tested on; see :func:`read_results`."""


def read_results(sweeps: Iterable[SweepFolder]) -> pd.DataFrame:
    """One row a trial, in the order of the sweeps and of the numbers in them.

    Trials with equal hashes would compute the same and are counted once; a finished one is preferred.

    Returns:
        The columns ``trial``, ``folder`` (relative to the sweep), those of :data:`STATUS`, ``choice.<axis or group>``,
        every metric under its own name (``seconds`` of the training as ``training_seconds``), ``latency_ms``, digests
        of the clips and of the recordings that it was tested on (:data:`TESTED`; None where all finished trials on the
        same content have one division, which says as much), and ``config.<key>`` for every leaf of the configuration;
        before them ``sweep``, where there are several. Values keep their Python types, and what a trial lacks is None.
    """
    folders = list(sweeps)
    found: dict[str, dict[str, Any]] = {}
    places: dict[str, TrialFolder] = {}
    for sweep in folders:
        for folder, status in sweep.folders():
            known = found.get(status.hash)
            if known is None or (known["state"] != "done" and status.state == "done"):
                place = {"sweep": str(sweep.path)} if len(folders) > 1 else {}
                found[status.hash] = {**place, **_row(sweep, folder, status)}
                places[status.hash] = folder
    rows = list(found.values())
    done = [row for row in rows if row["state"] == "done"]
    divisions = Counter(content for content, _ in {(row["content"], row["division"]) for row in done})
    for row in done:
        if divisions[row["content"]] > 1:
            row.update(zip(TESTED, _tested(places[row["hash"]])))
    first = ("sweep", *FIRST) if len(folders) > 1 else FIRST
    names = dict.fromkeys(name for row in rows for name in row)
    choices = [name for name in names if name.startswith("choice.")]
    config = [name for name in names if name.startswith("config.")]
    metrics = [name for name in names if name not in {*first, *choices, *config, "latency_ms", *TESTED}]
    columns = [*first, *choices, *metrics, "latency_ms", *TESTED, *config]
    return pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns, dtype=object)


def write_results(sweep: SweepFolder) -> pd.DataFrame:
    """Write ``results.csv`` and return what it holds; an empty cell is None, words are bare, the rest is JSON."""
    results = read_results([sweep])
    rows = ([None if value is None else as_text(value) for value in row] for row in results.itertuples(index=False))
    write_csv(sweep.results, list(results.columns), rows)
    return results


def _row(sweep: SweepFolder, folder: TrialFolder, status: TrialStatus) -> dict[str, Any]:
    metrics = {{"seconds": "training_seconds"}.get(name, name): value for name, value in folder.read_metrics().items()}
    latency = read_json(folder.latency)["latency_ms"] if folder.latency.is_file() else None
    return {
        "trial": status.number,
        "folder": folder.path.relative_to(sweep.path).as_posix(),
        **{name: getattr(status, name) for name in STATUS},
        **{f"choice.{key}": value for key, value in {**status.groups, **status.choices}.items()},
        **metrics,
        "latency_ms": latency,
        **_config(folder),
    }


def _tested(folder: TrialFolder) -> tuple[str | None, str | None]:
    """Digests of the clips and of the recordings in ``predictions.csv``, in whatever order; None without a test."""
    if not folder.predictions.is_file():
        return None, None
    place = ["path", "start_seconds", "end_seconds"]
    table = pd.read_csv(folder.predictions, usecols=place, dtype=str, keep_default_na=False)
    clips = sorted(table[place].itertuples(index=False, name=None))
    recordings = sorted(table["path"].unique())
    clips_digest, recordings_digest = (
        hashlib.sha256(json.dumps(found).encode()).hexdigest() for found in (clips, recordings)
    )
    return clips_digest, recordings_digest


def _config(folder: TrialFolder) -> dict[str, Any]:
    """Every leaf of the configuration; none where the trial had not come so far."""
    if not folder.config.is_file():
        return {}
    try:
        # What OmegaConf wrote any YAML parser reads alike, and this one in a fifth of the time.
        values = yaml.load(folder.config.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder.config} is not the configuration of a run: {str(error).splitlines()[0]}") from error
    return dict(_leaves("config", values))


def _leaves(key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)
