"""Evaluation of a classifier on the test clips of its run, or on other labelled recordings."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float, Int64
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.config import build, change, check_config, compose, trusting, user_extensions
from audio_lightning.config.saved import as_config
from audio_lightning.config.validate import labels_depend_on_data
from audio_lightning.core.errors import CheckpointError, ConfigError, DataError
from audio_lightning.core.files import without_nan, write_json
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST
from audio_lightning.data.splitting.splits import DIVIDING
from audio_lightning.data.store.fingerprints import difference, overlapping, segments
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.onnx_model import OnnxModel, is_onnx, load_onnx
from audio_lightning.metrics.calibration import calibration_metrics
from audio_lightning.metrics.factory import metrics_of
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.results import (
    by_recording,
    division,
    intervals,
    measured,
    targets_of,
    warnings_of,
    write_results,
)
from audio_lightning.training.trainer import silence_lightning

LOADING = ("data.batch_size", "data.num_workers", "data.resident")
"""Keys of ``data`` that do not change the clips."""


Metrics = dict[str, float | int | str | None]


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        metrics: flat dictionary with the names of ``metrics.json``; undefined metrics are None. ``num_train_overlap``
            is the number of tested clips (or recordings, if these were cut into windows) that were in the training
            data; it is missing for checkpoints that do not record their training data. ``leakage`` is ``present`` if
            there are any.
        unknown_classes: classes of the data that the classifier does not have; their clips were left out.
    """

    metrics: Metrics
    unknown_classes: list[str]


@dataclass(frozen=True)
class LabelledClips:
    """Clips to test a classifier on.

    Attributes:
        datamodule: after its setup, with the classes of the classifier.
        unknown_classes: see :class:`Evaluation`.
        train_overlap: number of test recordings that were in the training data; None if that is unknown.
    """

    datamodule: AudioDataModule
    unknown_classes: list[str]
    train_overlap: int | None


def evaluate(
    path: Path,
    overrides: Iterable[str] = (),
    *,
    output: Path | None = None,
    trust: str | Iterable[str] | None = None,
    config_dir: str | Path | None = None,
) -> Evaluation:
    """Evaluate a classifier, and warn on stderr if test recordings were in its training data.

    Args:
        path: checkpoint, run folder, or exported ONNX file, which needs ``data=NAME``.
        overrides: ``seed`` and ``data...`` keys. Without ``data=NAME``, they change the data of the run. With
            ``data=NAME``, only the seed and the windows of the run are kept, and all recordings are tested unless the
            data has a test split or a key defines one. Sample rate, length and padding of clips and the type of stored
            samples are always those of the classifier.
        output: folder for ``metrics.json``, ``predictions.csv`` and ``per_class.csv``; not for an ONNX file.
        trust: modules of the user's own whose classes the checkpoint may name.
        config_dir: folder with the user's own YAML files.

    Raises:
        CheckpointError: see :func:`load_classifier` and :func:`load_onnx`.
        ConfigError: an unknown key, data without test clips, or an ONNX file without ``data=NAME``.
        DataError: see :meth:`AudioDataModule.setup`; also no common class, one label per clip in place of several or
            the reverse, or data of the run that has changed.
    """
    overrides = list(overrides)
    with user_extensions(overrides, config_dir), trusting(trust):
        return _evaluate_onnx(path, overrides, output) if is_onnx(path) else _evaluate(path, overrides, output)


def _evaluate(path: Path, overrides: list[str], output: Path | None) -> Evaluation:
    silence_lightning()
    classifier = load_classifier(path)
    clips = labelled_clips(classifier, overrides)
    datamodule, overlap = clips.datamodule, clips.train_overlap
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        precision=classifier.config["trainer"]["precision"],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.test(classifier, datamodule=datamodule, verbose=False)
    _require_finite(*classifier.last_predictions(), datamodule)
    metrics = _described({**measured(classifier, datamodule)}, datamodule, overlap, overrides)
    if output is not None:
        folder = RunFolder(output)
        write_results(folder, classifier, datamodule)
        write_json(folder.metrics, metrics)
    return Evaluation(without_nan(metrics), clips.unknown_classes)


def _evaluate_onnx(path: Path, overrides: list[str], output: Path | None) -> Evaluation:
    """Evaluate an exported file in ONNX Runtime."""
    if "data" not in _typed(overrides):
        raise ConfigError(
            f"{path}: an ONNX file does not record its training data; name labelled recordings with data=NAME "
            "data.root=DIR"
        )
    if output is not None:
        raise ConfigError(
            f"--output {output}: not supported for an ONNX file; leave it out, or evaluate the checkpoint"
        )
    model = load_onnx(path)
    clips = labelled_clips(model, overrides)
    datamodule = clips.datamodule
    numbers, size = datamodule.numbers(TEST), datamodule.batch_size
    if not len(numbers):
        raise DataError(f"{datamodule.root}: no test clips; name other recordings with data=NAME data.root=DIR")
    places = [np.arange(start, min(start + size, len(numbers))) for start in range(0, len(numbers), size)]
    found = [model.probabilities(datamodule.batch(TEST, place)["waveform"].numpy()) for place in places]
    number, probabilities = torch.from_numpy(numbers), torch.from_numpy(np.concatenate(found))
    _require_finite(number, probabilities, datamodule)
    metrics = _metrics_of_onnx(model, datamodule, number, probabilities)
    return Evaluation(without_nan(_described(metrics, datamodule, None, overrides)), clips.unknown_classes)


def _metrics_of_onnx(
    model: OnnxModel,
    datamodule: AudioDataModule,
    number: Int64[Tensor, "clips"],
    probabilities: Float[Tensor, "clips classes"],
) -> Metrics:
    """Compute the metrics of a run's test; without those before calibration, and without those of its own YAML."""
    multilabel, row = model.task.multilabel, datamodule.clips.row[number.numpy()]
    thresholds = torch.tensor(model.metadata.thresholds) if model.metadata.thresholds is not None else None
    targets = targets_of(datamodule, number)
    found = metrics_of(model.task, probabilities, targets, thresholds=thresholds).compute()
    metrics: Metrics = {f"test/{name}": float(value) for name, value in found.items()}
    calibration = calibration_metrics(probabilities, targets, multilabel=multilabel)
    metrics |= {f"test/{name}": value for name, value in calibration.items()}
    metrics |= intervals(datamodule, row, probabilities, "test/", thresholds)
    if datamodule.hop_samples is not None:
        rows, means = by_recording(datamodule, number, probabilities)
        whole = metrics_of(
            model.task, means, torch.from_numpy(datamodule.manifest.targets()[rows]), thresholds=thresholds
        )
        metrics |= {f"test/recording_{name}": float(value) for name, value in whole.compute().items()}
        metrics |= intervals(datamodule, rows, means, "test/recording_", thresholds)
    return metrics


def _described(metrics: Metrics, datamodule: AudioDataModule, overlap: int | None, overrides: list[str]) -> Metrics:
    """Add the number of clips, the split, warnings and leakage to the metrics of a test."""
    metrics["num_clips/test"] = len(datamodule.numbers(TEST))
    metrics |= {**division(datamodule), **warnings_of(datamodule, (TEST,))}
    if overlap:
        metrics["leakage"] = "present"
    elif _typed(overrides) & {"data", "seed", *(f"data.{key}" for key in DIVIDING)}:
        metrics["leakage"] = "cannot be excluded"  # the checked splits are not those of the training
    if overlap is not None:
        metrics["num_train_overlap"] = overlap
    return metrics


def labelled_clips(classifier: Classifier | OnnxModel, overrides: Iterable[str] = ()) -> LabelledClips:
    """Open the clips to test a classifier on: the test clips of its run, or other clips.

    A warning is printed on stderr if some of them were in the training data.

    Args:
        classifier: the classifier to test.
        overrides: see :func:`evaluate`.

    Raises:
        CheckpointError, ConfigError, DataError: see :func:`evaluate`.
    """
    overrides = [line for line in overrides if not line.startswith("trusted_modules=")]
    config = _data_config(classifier, overrides)
    if config.data.split == "train_only":
        raise ConfigError(
            "data.split=train_only: no test clips; name other recordings with data=NAME data.root=DIR data.split=all"
        )
    datamodule, unknown = _matched(classifier, config, overrides)
    return LabelledClips(datamodule, unknown, _train_overlap(classifier, datamodule))


def open_data(classifier: Classifier, overrides: Iterable[str] = ()) -> AudioDataModule:
    """Set up the data of a classifier's run, or other data, with the classes of the classifier.

    Args:
        classifier: a trained classifier.
        overrides: see :func:`evaluate`.

    Raises:
        CheckpointError, ConfigError, DataError: see :func:`evaluate`.
    """
    overrides = list(overrides)
    return _matched(classifier, _data_config(classifier, overrides), overrides)[0]


def run_data(classifier: Classifier) -> AudioDataModule:
    """Set up the data that a classifier was trained on.

    Raises:
        CheckpointError, ConfigError, DataError: the data is unknown, missing or has changed.
    """
    return _opened(classifier, _data_config(classifier, []), [])


def _matched(
    classifier: Classifier | OnnxModel, config: DictConfig, overrides: list[str]
) -> tuple[AudioDataModule, list[str]]:
    """Set up data with the classes of the classifier; return also the classes that the classifier does not have."""
    datamodule = _opened(classifier, config, overrides)
    if datamodule.manifest.classes == classifier.task.classes:
        return datamodule, []
    return datamodule, datamodule.match_classes(classifier.task.classes)


def _opened(classifier: Classifier | OnnxModel, config: DictConfig, overrides: list[str]) -> AudioDataModule:
    datamodule = build(config.data, AudioDataModule, where="data")
    datamodule.setup()
    if datamodule.task.multilabel != classifier.task.multilabel:
        number = {True: "several labels", False: "one label"}
        raise DataError(
            f"the classifier predicts {number[classifier.task.multilabel]} per clip, but the data has "
            f"{number[datamodule.task.multilabel]} (data.label_separator={config.data.get('label_separator')}, "
            f"data.labels={config.data.get('labels')}, data.multilabel={config.data.get('multilabel')}); "
            "change these keys, or evaluate another classifier"
        )
    changed = any(key == "seed" or key.startswith("data") for key in _typed(overrides).difference(LOADING))
    if not changed and isinstance(classifier, Classifier):
        _require_same(classifier, datamodule)
    return datamodule


def _require_same(classifier: Classifier, datamodule: AudioDataModule) -> None:
    if found := difference(classifier.data, datamodule):
        raise DataError(
            f"{datamodule.root}: the data has changed since the training: {found}; restore it, "
            "or name the data with data.root=DIR, which matches classes by name"
        )


def _require_finite(
    number: Int64[Tensor, "clips"], probabilities: Float[Tensor, "clips classes"], datamodule: AudioDataModule
) -> None:
    """Check that all probabilities are finite; metrics of NaN would look like those of a bad classifier.

    Raises:
        CheckpointError: some are NaN or infinite.
    """
    wrong = number[~probabilities.isfinite().all(dim=1)].numpy()
    if len(wrong):
        path = datamodule.manifest.table["path"].iloc[datamodule.clips.row[wrong[0]]]
        raise CheckpointError(
            f"the probabilities of {len(wrong)} of {len(number)} test clips hold NaN or infinite values, the first is "
            f"{path}; the checkpoint may be damaged, restore it or train again"
        )


def _train_overlap(classifier: Classifier | OnnxModel, datamodule: AudioDataModule) -> int | None:
    """Count, and report on stderr, the test recordings that were in the training data; None if unknown."""
    if isinstance(classifier, OnnxModel) or classifier.trained_on is None:
        kind = "an ONNX file" if isinstance(classifier, OnnxModel) else "the checkpoint"
        print(
            f"overlap with the training data is unknown, as {kind} does not record its training data",
            file=sys.stderr,
        )
        return None
    rows = np.unique(datamodule.clips.row[datamodule.numbers(TEST)])
    found = int(overlapping(segments(datamodule, rows), classifier.trained_on).sum())
    if found:
        what = "clips" if datamodule.hop_samples is None else "recordings"
        print(
            f"{found} of {len(rows)} {what} were in the training data: the metrics do not hold for new recordings",
            file=sys.stderr,
        )
    return found


def _data_config(classifier: Classifier | OnnxModel, overrides: list[str]) -> DictConfig:
    trained, task, typed = classifier.config, classifier.task, _typed(overrides)
    if isinstance(classifier, Classifier) and not (
        all(isinstance(trained.get(name), dict) for name in ("data", "trainer")) and "seed" in trained
    ):
        raise CheckpointError("the checkpoint does not record its training data; name the test data with data=NAME")
    if "data" in typed:
        hop = trained["data"].get("hop_seconds")
        kept = [f"data.hop_seconds={'null' if hop is None else hop}"]
        kept.append(f"data.channel={trained['data'].get('channel', 'mean')}")
        kept += [f"seed={trained['seed']}"] if "seed" in trained else []
        config = compose([*kept, *overrides])  # later overrides take precedence
    else:
        saved = as_config(trained, where="the checkpoint")
        OmegaConf.set_struct(saved, False)
        if saved.data.get("seed") == saved.seed:  # restore the interpolation that was resolved when saving
            saved.data.seed = "${seed}"
        OmegaConf.set_struct(saved, True)
        config = change(saved, overrides)
    config.data.sample_rate = task.sample_rate
    config.data.clip_seconds = task.clip_seconds
    config.data.padding = task.padding
    config.data.cache_dtype = trained["data"].get("cache_dtype", config.data.cache_dtype)  # rounds samples alike
    if labels_depend_on_data(config):
        config.data.multilabel = task.multilabel
    check_config(config)
    if "data" in typed and not typed & {f"data.{key}" for key in DIVIDING if key != "seed"}:
        _test_on_all(config)
    return config


def _test_on_all(config: DictConfig) -> None:
    """Test on all clips, unless the data has a test split of its own."""
    usual = config.data.split
    if usual != "official":  # reading must not require the keys of a split that may not apply
        config.data.split = "all"
    has_test_split = (build(config.data, AudioDataModule, where="data").read().table["split"] == TEST).any()
    config.data.split = usual if has_test_split else "all"
    if not has_test_split:
        print("all clips are tested (data.split=all), as this data has no test split of its own", file=sys.stderr)


def _typed(overrides: Iterable[str]) -> set[str]:
    return {line.partition("=")[0].lstrip("+") for line in overrides}
