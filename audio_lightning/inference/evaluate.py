"""The test metrics of a checkpoint, on the data it was made for or on other labelled recordings."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf

from audio_lightning.classifier import AudioClassifier
from audio_lightning.config import build, change, check_config, compose, opened, trusting
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST
from audio_lightning.errors import ConfigError, DataError
from audio_lightning.files import write_json
from audio_lightning.inference.load import load_classifier
from audio_lightning.training.folder import RunFolder
from audio_lightning.training.results import measured, write_results
from audio_lightning.training.run import quieten


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: flat, as ``metrics.json`` of a run names them.
        unknown_classes: classes of the data that the classifier does not know; their clips were left out.
    """

    metrics: dict[str, float | int]
    unknown_classes: list[str]


def evaluate(
    path: Path,
    overrides: Iterable[str] = (),
    *,
    output: Path | None = None,
    trust: str | Iterable[str] | None = None,
) -> Evaluation:
    """Test a classifier again.

    Args:
        path: checkpoint or run folder.
        overrides: ``data...`` keys. With ``data=NAME`` the data is described anew; otherwise it is the run's own, with
            what is given changed. Sample rate, length and padding of clips are always the classifier's.
        output: folder to which ``metrics.json``, ``predictions.csv`` and ``per_class.csv`` are written.
        trust: modules of one's own whose classes the checkpoint may name.

    Raises:
        CheckpointError: see :func:`load_classifier`.
        ConfigError: a key that does not exist, or data that has no test clips.
        DataError: see :meth:`AudioDataModule.setup`; also no class in common, or one label a clip where there may be
            several.
    """
    overrides = list(overrides)
    with opened(overrides), trusting(trust):
        return _evaluate(path, overrides, output)


def _evaluate(path: Path, overrides: list[str], output: Path | None) -> Evaluation:
    quieten()
    classifier = load_classifier(path)
    config = _data_config(classifier, [line for line in overrides if not line.startswith("trust=")])
    datamodule = build(config.data, AudioDataModule, where="data")
    datamodule.setup()
    if datamodule.task.multilabel != classifier.task.multilabel:
        number = {True: "several labels", False: "one label"}
        raise DataError(
            f"the classifier answers with {number[classifier.task.multilabel]} a clip, and the data has "
            f"{number[datamodule.task.multilabel]} (data.label_separator={config.data.get('label_separator')})"
        )
    unknown: list[str] = []
    if datamodule.manifest.classes != classifier.task.classes:
        unknown = datamodule.match_classes(classifier.task.classes)
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
    metrics: dict[str, float | int] = {**measured(classifier, datamodule)}
    metrics["clips/test"] = len(datamodule.numbers(TEST))
    if output is not None:
        folder = RunFolder(output)
        write_results(folder, classifier, datamodule)
        write_json(folder.metrics, metrics)
    return Evaluation(metrics, unknown)


def _data_config(classifier: AudioClassifier, overrides: list[str]) -> DictConfig:
    if any(line.startswith("data=") for line in overrides):
        config = compose(overrides)
    else:
        saved = OmegaConf.create(classifier.config)
        OmegaConf.set_struct(saved, True)
        config = change(saved, overrides)
    task = classifier.task
    config.data.sample_rate = task.sample_rate
    config.data.clip_seconds = task.clip_seconds
    config.data.padding = task.padding
    check_config(config)
    if config.data.split == "train_only":
        raise ConfigError(
            "data.split=train_only has no clips to test on: name other recordings by data=NAME data.root=DIR "
            "data.split=all"
        )
    return config
