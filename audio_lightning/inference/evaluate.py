"""The test metrics of a checkpoint, on the data it was made for or on other labelled recordings."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from omegaconf import DictConfig, OmegaConf

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
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.results import division, measured, warnings_of, write_results
from audio_lightning.training.trainer import silence_lightning

LOADING = ("data.batch_size", "data.num_workers", "data.resident")
"""Keys that leave the data as it was."""


Metrics = dict[str, float | int | str | None]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: flat, as ``metrics.json`` of a run names them, None for what nothing defines; also
            ``num_train_overlap``, the number of clips (of recordings, where these were cut into windows) that the
            classifier was trained on, unless its checkpoint is too old to know. ``leakage`` says whether there are any.
        unknown_classes: classes of the data that the classifier does not know; their clips were left out.
    """

    metrics: Metrics
    unknown_classes: list[str]


@dataclass(frozen=True)
class LabelledClips:
    """Clips to test a classifier on.

    Attributes:
        datamodule: after its setup; its classes are those of the classifier.
        unknown_classes: see :class:`Evaluation`.
        train_overlap: number of the recordings to be tested that the classifier was trained on; None where that is not
            known.
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
    """Test a classifier again, and say on the error output if it was trained on what it is tested on.

    Args:
        path: checkpoint or run folder.
        overrides: ``seed`` and ``data...`` keys. With ``data=NAME`` the data is described anew, but for the run's seed
            and windows, and all of it is tested unless it has a test part of its own or a key says how to divide it;
            otherwise it is the run's own, with what is given changed. Sample rate, length and padding of clips and the
            type of stored samples are always the classifier's.
        output: folder to which ``metrics.json``, ``predictions.csv`` and ``per_class.csv`` are written.
        trust: modules of the user's own whose classes the checkpoint may name.
        config_dir: folder with YAML files of the user's own.

    Raises:
        CheckpointError: see :func:`load_classifier`.
        ConfigError: a key that does not exist, or data that has no test clips.
        DataError: see :meth:`AudioDataModule.setup`; also no class in common, one label a clip where there may be
            several, or data of the run that is not what it was, and was not named anew.
    """
    overrides = list(overrides)
    with user_extensions(overrides, config_dir), trusting(trust):
        return _evaluate(path, overrides, output)


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
    _require_finite(classifier, datamodule)
    metrics: Metrics = {**measured(classifier, datamodule)}
    metrics["num_clips/test"] = len(datamodule.numbers(TEST))
    metrics |= {**division(datamodule), **warnings_of(datamodule, (TEST,))}
    if overlap:
        metrics["leakage"] = "present"
    elif _typed(overrides) & {"data", "seed", *(f"data.{key}" for key in DIVIDING)}:
        metrics["leakage"] = "cannot be excluded"  # the division that was checked is not the one of the training
    if overlap is not None:
        metrics["num_train_overlap"] = overlap
    if output is not None:
        folder = RunFolder(output)
        write_results(folder, classifier, datamodule)
        write_json(folder.metrics, metrics)
    return Evaluation(without_nan(metrics), clips.unknown_classes)


def labelled_clips(classifier: Classifier, overrides: Iterable[str] = ()) -> LabelledClips:
    """The clips to test a classifier on: those of its run, or other ones.

    It is said on the error output if some were trained on.

    Args:
        classifier: that is tested.
        overrides: see :func:`evaluate`.

    Raises:
        CheckpointError, ConfigError, DataError: see :func:`evaluate`.
    """
    overrides = [line for line in overrides if not line.startswith("trusted_modules=")]
    config = _data_config(classifier, overrides)
    if config.data.split == "train_only":
        raise ConfigError(
            "data.split=train_only has no clips to test on: name other recordings by data=NAME data.root=DIR "
            "data.split=all"
        )
    datamodule, unknown = _matched(classifier, config, overrides)
    return LabelledClips(datamodule, unknown, _train_overlap(classifier, datamodule))


def open_data(classifier: Classifier, overrides: Iterable[str] = ()) -> AudioDataModule:
    """Set up the data of a classifier's run, or other data, with the classes of the classifier.

    Args:
        classifier: a trained one.
        overrides: see :func:`evaluate`.

    Raises:
        CheckpointError, ConfigError, DataError: see :func:`evaluate`.
    """
    overrides = list(overrides)
    return _matched(classifier, _data_config(classifier, overrides), overrides)[0]


def run_data(classifier: Classifier) -> AudioDataModule:
    """The data that a classifier was trained on, after its setup.

    Raises:
        CheckpointError, ConfigError, DataError: it is not known, not there any more, or not what it was.
    """
    return _opened(classifier, _data_config(classifier, []), [])


def _matched(classifier: Classifier, config: DictConfig, overrides: list[str]) -> tuple[AudioDataModule, list[str]]:
    """The data with the classes of the classifier, and its classes that the classifier does not know."""
    datamodule = _opened(classifier, config, overrides)
    if datamodule.manifest.classes == classifier.task.classes:
        return datamodule, []
    return datamodule, datamodule.match_classes(classifier.task.classes)


def _opened(classifier: Classifier, config: DictConfig, overrides: list[str]) -> AudioDataModule:
    datamodule = build(config.data, AudioDataModule, where="data")
    datamodule.setup()
    if datamodule.task.multilabel != classifier.task.multilabel:
        number = {True: "several labels", False: "one label"}
        raise DataError(
            f"the classifier predicts {number[classifier.task.multilabel]} a clip, and the data has "
            f"{number[datamodule.task.multilabel]} (data.label_separator={config.data.get('label_separator')}, "
            f"data.labels={config.data.get('labels')}, data.multilabel={config.data.get('multilabel')})"
        )
    if not any(key == "seed" or key.startswith("data") for key in _typed(overrides).difference(LOADING)):
        _require_same(classifier, datamodule)
    return datamodule


def _require_same(classifier: Classifier, datamodule: AudioDataModule) -> None:
    if found := difference(classifier.data, datamodule):
        raise DataError(
            f"{datamodule.root}: the data is not what the classifier was trained and tested on: {found}; put it back, "
            "or name the data by data.root=DIR, and classes are matched by name"
        )


def _require_finite(classifier: Classifier, datamodule: AudioDataModule) -> None:
    """Refuse probabilities that are no numbers: figures made of them would look like those of a bad classifier.

    Raises:
        CheckpointError: some are NaN or infinite.
    """
    number, probabilities = classifier.last_predictions()
    wrong = number[~probabilities.isfinite().all(dim=1)].numpy()
    if len(wrong):
        path = datamodule.manifest.table["path"].iloc[datamodule.clips.row[wrong[0]]]
        raise CheckpointError(
            f"the probabilities of {len(wrong)} of {len(number)} test clips hold NaN or infinite values, the first is "
            f"{path}; see whether the checkpoint is damaged"
        )


def _train_overlap(classifier: Classifier, datamodule: AudioDataModule) -> int | None:
    """How many of the recordings to be tested were trained on; None where that is not known. It is said, too."""
    if classifier.trained_on is None:
        print("not known: whether these clips were trained on, which older checkpoints do not say", file=sys.stderr)
        return None
    rows = np.unique(datamodule.clips.row[datamodule.numbers(TEST)])
    found = int(overlapping(segments(datamodule, rows), classifier.trained_on).sum())
    if found:
        what = "clips" if datamodule.hop_samples is None else "recordings"
        print(
            f"{found} of {len(rows)} {what} were trained on: the figures say nothing about other recordings",
            file=sys.stderr,
        )
    return found


def _data_config(classifier: Classifier, overrides: list[str]) -> DictConfig:
    trained, task, typed = classifier.config, classifier.task, _typed(overrides)
    if not all(isinstance(trained.get(name), dict) for name in ("data", "trainer")) or "seed" not in trained:
        raise CheckpointError("the checkpoint does not say what data it was trained on: name some by data=NAME")
    if "data" in typed:
        hop = trained["data"].get("hop_seconds")
        kept = [
            f"seed={trained['seed']}",
            f"data.hop_seconds={'null' if hop is None else hop}",
            f"data.channel={trained['data'].get('channel', 'mean')}",
        ]
        config = compose([*kept, *overrides])  # what is typed comes later, and so counts
    else:
        saved = as_config(trained, where="the checkpoint")
        OmegaConf.set_struct(saved, False)
        if saved.data.get("seed") == saved.seed:  # as it was before it was resolved
            saved.data.seed = "${seed}"
        OmegaConf.set_struct(saved, True)
        config = change(saved, overrides)
    config.data.sample_rate = task.sample_rate
    config.data.clip_seconds = task.clip_seconds
    config.data.padding = task.padding
    config.data.cache_dtype = trained["data"].get("cache_dtype", config.data.cache_dtype)  # it rounds
    if labels_depend_on_data(config):
        config.data.multilabel = task.multilabel
    check_config(config)
    if "data" in typed and not typed & {f"data.{key}" for key in DIVIDING if key != "seed"}:
        _test_on_all(config)
    return config


def _test_on_all(config: DictConfig) -> None:
    """Test on all clips, unless the data itself says which of them are for that."""
    usual = config.data.split
    if usual != "official":  # what a division needs is not asked for where there may be none
        config.data.split = "all"
    says = (build(config.data, AudioDataModule, where="data").read().table["split"] == TEST).any()
    config.data.split = usual if says else "all"
    if not says:
        print("all clips are tested (data.split=all): this data has no test part of its own", file=sys.stderr)


def _typed(overrides: Iterable[str]) -> set[str]:
    return {line.partition("=")[0].lstrip("+") for line in overrides}
