"""Simulated sweep folders."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from audio_lightning.compare.trials import SweepFacts, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.core.files import write_csv, write_json, write_text

REPEATED = ("seed", "data.test_fold")
GROUPS = {"data": "demo", "feature": "logmel", "model": "cnn", "optimizer": "adamw"}


def trial(validation: float | None = 0.8, test: float | None = 0.7, **changes: Any) -> dict[str, Any]:
    """A finished trial for :func:`make_sweep`.

    Args:
        validation: its validation accuracy; None where it has none.
        test: its test accuracy; None where it has none.
        changes: choices (``model="cnn"``, ``seed=1``, ``fold=2`` for ``data.test_fold``, ``lr=0.1`` for
            ``optimizer.lr``); ``metrics`` and ``config``, which are laid over those made here; ``latency_ms``; and
            fields of :class:`TrialStatus`.
    """
    return {"validation": validation, "test": test, **changes}


def make_sweep(
    path: Path, trials: Sequence[dict[str, Any]], *, monitor: str = "validation/accuracy", axes: Sequence[str] = ()
) -> SweepFolder:
    """Write a sweep with the given trials (see :func:`trial`) into ``path``; its axes are their choices."""
    sweep = SweepFolder(path)
    found = dict.fromkeys(axes)
    for number, row in enumerate(trials):
        found |= dict.fromkeys(_write_trial(sweep, number, dict(row)).choices)
    sweep.write_facts(SweepFacts(name=path.name, axes=list(found), monitor=monitor, overrides=["made=for,tests"]))
    return sweep


def write_predictions(folder: TrialFolder, right: Sequence[bool], recordings: Sequence[str]) -> None:
    """Write ``predictions.csv`` of clips of alternating classes ``a`` and ``b``, each one second of its recording."""
    labels = ["ab"[place % 2] for place in range(len(right))]
    predicted = [label if known else "ba"["ab".index(label)] for label, known in zip(labels, right)]
    write_csv(
        folder.predictions,
        ["path", "start_seconds", "end_seconds", "label", "predicted"],
        (
            [recording, f"{place}.000", f"{place + 1}.000", *pair]
            for place, (recording, pair) in enumerate(zip(recordings, zip(labels, predicted), strict=True))
        ),
    )


def _write_trial(sweep: SweepFolder, number: int, row: dict[str, Any]) -> TrialStatus:
    validation, test = row.pop("validation"), row.pop("test")
    metrics, config, latency = row.pop("metrics", {}), row.pop("config", {}), row.pop("latency_ms", 2.5)
    known = {name: row.pop(name) for name in list(row) if name in TrialStatus.__dataclass_fields__}
    spelled = {"fold": "data.test_fold", "lr": "optimizer.lr"}
    choices = {spelled.get(name, name): value for name, value in row.items()}
    fold, seed = choices.get("data.test_fold"), choices.get("seed", 0)
    setup = {key: value for key, value in choices.items() if key not in REPEATED} | config
    values: dict[str, Any] = {
        "hash": _hash([setup, fold, seed, known.get("content"), known.get("division")]),
        "setup": _hash([setup, known.get("content")]),
        "state": "done",
        "overrides": [f"{key}={value}" for key, value in choices.items()],
        "choices": choices,
        "groups": {name: choices.get(name, choice) for name, choice in GROUPS.items()},
        "content": "recordings",
        "division": "one" if fold is None else f"fold {fold}",
        "attempts": 1,
        "seconds": 12.5,
        "peak_memory_mb": 640.0,
    }
    status = TrialStatus(number=number, **{**values, **known})
    folder: TrialFolder = sweep.trial(number, status.hash)
    folder.write_status(status)
    nodes: dict[str, Any] = {name: {"name": choice} for name, choice in status.groups.items()}
    nodes["optimizer"]["lr"] = choices.get("optimizer.lr", 0.001)
    write_text(folder.config, yaml.safe_dump({**nodes, "seed": seed, **config}, sort_keys=False))
    if status.state == "done":
        measured = {"test/accuracy": test, "validation/accuracy": validation}
        divided = {"split": "grouped"} if fold is None else {"split": "folds", "test_fold": fold}
        costs = {"parameters": 1000, "macs": 50_000, "epochs": 4, "best_epoch": 3, "seconds": 10.0}
        clips = {"num_clips/train": 80, "num_clips/validation": 16, "num_clips/test": 10}
        made = {**measured, **costs, **clips, **divided, "leakage": "none found", "seed": seed, "device": "cpu"}
        write_json(folder.metrics, {name: value for name, value in {**made, **metrics}.items() if value is not None})
        if latency is not None:
            write_json(folder.latency, {"latency_ms": latency, "threads": 1, "device": "cpu"})
    return status


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
