"""Values of a model card, read from a checkpoint and from the folder of its run or fit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from torch import Tensor

from audio_lightning.classifier.checkpoint import check_checkpoint, is_ensemble, read_contents
from audio_lightning.classifier.distillation import distillation
from audio_lightning.classifier.ensemble_file import check_contents
from audio_lightning.classifier.provenance import described_data
from audio_lightning.classifier.published import published_weights
from audio_lightning.compare.fit_summary import FitFolder, FitSummary
from audio_lightning.config.licences import licence_of
from audio_lightning.core.errors import CheckpointError, ConfigError, FileError
from audio_lightning.core.files import first_line, read_json, read_text, without_nan
from audio_lightning.core.task import AudioTask
from audio_lightning.data.manifest import SPLITS
from audio_lightning.data.sources.demo.source import Demo
from audio_lightning.metrics.calibration import CALIBRATION_METRICS
from audio_lightning.run_folder import FIT, RunFolder

MOST_ROWS = 1000
"""Largest number of rows of a table."""


@dataclass(frozen=True)
class Figure:
    """A metric with its 95 % confidence interval.

    Attributes:
        name: as in ``metrics.json``, without the split.
        value: value of the metric.
        low, high: ends of the interval; None if unknown.
        condition: condition of the robustness benchmark, such as ``white noise, 10 dB SNR``; empty otherwise.
        clips: number of clips of the robustness benchmark; None otherwise.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    condition: str = ""
    clips: int | None = None


def card_contents(checkpoint: Path) -> dict[str, Any]:
    """Return the variables of the template ``model_card.md.j2``.

    Args:
        checkpoint: checkpoint file; the other files in the folder of its run or fit are read, too.

    Raises:
        CheckpointError: the file is damaged or not a classifier.
        FileError: another file of the folder is damaged.
    """
    members, calibrated = _members(checkpoint)
    try:
        task = AudioTask.from_dict(members[0]["hyper_parameters"]["task"])
        configs = [dict(member["hyper_parameters"]["config"]) for member in members]
        data = described_data(members[0])
        values = _of_classifier(task, configs, data)
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint}: no description of the task and the data ({type(error).__name__}); use another checkpoint"
        ) from error
    folder = folder_of(checkpoint)
    values |= _of_fit(folder) if folder is not None and (folder / FIT).exists() else _of_run(folder)
    values["calibration"] = {**values["calibration"], "fitted": calibrated}
    values["columns"], values["classes"] = _class_rows(task, values.pop("class_counts"), values.pop("per_class"))
    return values


def folder_of(checkpoint: Path) -> Path | None:
    """Return the folder of the run or fit of a checkpoint; None if the file is in no such folder."""
    if (checkpoint.parent / FIT).exists():
        return checkpoint.parent
    run = RunFolder(checkpoint.parent.parent)
    return run.path if checkpoint.parent == run.best.parent and run.metrics.exists() else None


def _members(checkpoint: Path) -> tuple[list[dict[str, Any]], bool]:
    """Members of a checkpoint, largest weight first, and whether the probabilities are calibrated."""
    contents, where = read_contents(checkpoint), str(checkpoint)
    if not is_ensemble(contents):
        member = check_checkpoint(contents, where=where)
        return [member], _is_calibrated(member)
    found = check_contents(contents, where=where)
    order = sorted(range(len(found.members)), key=lambda place: -found.weights[place])
    calibrated = found.calibration is not None or all(map(_is_calibrated, found.members))
    return [found.members[place] for place in order], calibrated


def _is_calibrated(member: Mapping[str, Any]) -> bool:
    state = member["state_dict"]
    pairs = (("calibration.scale", 1.0), ("calibration.bias", 0.0))
    found = [(state.get(name), plain) for name, plain in pairs] if isinstance(state, dict) else []
    return any(isinstance(value, Tensor) and bool((value != plain).any()) for value, plain in found)


def _of_classifier(task: AudioTask, configs: Sequence[dict[str, Any]], data: Mapping[str, Any]) -> dict[str, Any]:
    """Values from the checkpoint itself."""
    config = configs[0]
    source = _class_name(config["data"])
    root = config["data"].get("root")
    return {
        "task": task,
        "dataset": PurePath(str(root)).name if root else source,
        "source": source,
        "synthetic": config["data"].get("_target_") == f"{Demo.__module__}.{Demo.__qualname__}",
        "config": {name: str(config[name]) for name in ("seed", "monitor") if config.get(name) is not None},
        "networks": list(
            dict.fromkeys(f"{_class_name(one['model'])} on {_class_name(one['feature'])}" for one in configs)
        ),
        "num_members": len(configs),
        "optimizer": _class_name(config.get("optimizer") or {}),
        "teachers": _teachers(configs),
        "weights": published_weights(configs),
        "licence": licence_of(config),
        "class_counts": [int(count) for count in data["clips_of_classes"]],
        "counts": {split: int(count) for split, count in dict(data.get("clips", {})).items() if split in SPLITS},
    }


def _teachers(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Name and weight of the teachers of distillations, without duplicates."""
    found = [distillation(config) for config in configs]
    return list(dict.fromkeys((settings.name, settings.weight) for settings in found if settings is not None))


def _class_name(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_") or "").rpartition(".")[2]


def _of_run(folder: Path | None) -> dict[str, Any]:
    """Values from the folder of a run; empty for a checkpoint without a folder."""
    empty: dict[str, Any] = {"metrics": {}, "tested": "", "figures": [], "calibration": {}, "per_class": None}
    if folder is None:
        return {**empty, "kind": "checkpoint", "versions": {}, "robustness": [], "energy": None, "fit": None}
    files = RunFolder(folder)
    metrics = {name: value for name, value in without_nan(files.read_metrics()).items() if value is not None}
    tested = next((part for part in ("test", "validation") if any(name.startswith(f"{part}/") for name in metrics)), "")
    ends = {f"{name}{kind}": f"test/{name}{kind}" for name in CALIBRATION_METRICS for kind in ("", "_uncalibrated")}
    return {
        **empty,
        **_beside(folder),
        "kind": "run",
        "metrics": metrics,
        "tested": tested,
        "figures": _figures(metrics, f"{tested}/"),
        "calibration": {
            **{name: metrics[key] for name, key in ends.items() if key in metrics},
            "temperature": metrics.get("temperature"),
        },
        "per_class": files.read_per_class() if files.per_class.exists() else None,
        "fit": None,
    }


def _of_fit(folder: Path) -> dict[str, Any]:
    """Values from the folder of a fit."""
    summary = FitFolder(folder).read_summary()
    return {
        **_beside(folder),
        "kind": "fit",
        "metrics": {},
        "tested": "cross-validation",
        "figures": _expected(summary),
        "calibration": {} if summary.calibration is None else asdict(summary.calibration),
        "per_class": None,
        "fit": summary,
    }


def _beside(folder: Path) -> dict[str, Any]:
    """Values from files that a run or a fit may have."""
    files = RunFolder(folder)
    found = read_json(files.environment) if files.environment.exists() else {}
    packages = found.get("packages")
    return {
        "versions": {**(packages if isinstance(packages, dict) else {}), "Python": found.get("python", "unknown")},
        "robustness": _robustness(files.robustness),
        "energy": _energy(files.energy),
    }


def _expected(summary: FitSummary) -> list[Figure]:
    found = summary.result
    return [] if found is None else [Figure(found.metric, found.expected, found.low, found.high)]


def _figures(metrics: Mapping[str, Any], prefix: str) -> list[Figure]:
    """Metrics with a prefix, except interval bounds and calibration metrics."""
    found = []
    for key, value in metrics.items():
        name = key.removeprefix(prefix)
        plain = not name.endswith(("_low", "_high", "_uncalibrated")) and name not in CALIBRATION_METRICS
        if key.startswith(prefix) and plain and isinstance(value, int | float):
            found.append(Figure(name, value, metrics.get(f"{key}_low"), metrics.get(f"{key}_high")))
    return found


def _robustness(file: Path) -> list[Figure]:
    """Rows of ``robustness.json``; empty without the file.

    Raises:
        FileError: the file is damaged.
    """
    if not file.exists():
        return []

    def figure(row: Mapping[str, Any]) -> Figure:
        low, high = (None if row.get(end) is None else float(row[end]) for end in ("low", "high"))
        clips = None if row.get("num_clips") is None else int(row["num_clips"])
        return Figure(str(row["metric"]), float(row["score"]), low, high, str(row["condition"]), clips)

    try:
        return [figure(row) for row in json.loads(read_text(file))[:MOST_ROWS]]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise FileError(
            f"{file}: damaged, expected a list of rows with condition, metric and score ({first_line(error)}); "
            "run audio-lightning robustness again"
        ) from error


def _energy(file: Path) -> dict[str, Any] | None:
    """Content of ``energy.json`` (:class:`audio_lightning.training.emissions.Emissions`); None without the file.

    Raises:
        FileError: the file is damaged.
    """
    if not file.exists():
        return None
    found = read_json(file)
    try:
        numbers = {name: float(found[name]) for name in ("energy_kwh", "seconds")}
        emissions = None if found["emissions_kg"] is None else float(found["emissions_kg"])
        return {**numbers, "emissions_kg": emissions, **{name: str(found[name]) for name in ("country", "codecarbon")}}
    except (LookupError, TypeError, ValueError) as error:
        raise FileError(
            f"{file}: damaged, expected the energy of a training ({first_line(error)}); remove the file"
        ) from error


def _class_rows(
    task: AudioTask, counts: Sequence[int], per_class: pd.DataFrame | None
) -> tuple[list[str], list[list[Any]]]:
    """Columns of ``per_class.csv``, if it exists, and rows of class name, training clips and these columns."""
    columns = [] if per_class is None else [str(name) for name in per_class.columns if name != "class"]
    tests = {} if per_class is None else {str(row["class"]): row for row in per_class.to_dict("records")}
    rows = []
    for name, count in list(zip(task.classes, counts))[:MOST_ROWS]:
        tested = without_nan(tests.get(name, {}))
        rows.append([name, count, *(tested.get(column) for column in columns)])
    return columns, rows
