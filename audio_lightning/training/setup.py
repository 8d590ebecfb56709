"""Setup of a training: open the data, build the classifier, and print a summary."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.cores import busy_cores
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.files import write_csv
from audio_lightning.core.messages import print_and_log
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.batches import Batch
from audio_lightning.data.loading.gather import as_tensor
from audio_lightning.data.manifest import SPLITS, TRAIN
from audio_lightning.data.problems import Problem, ProblemsError, printable
from audio_lightning.data.store.decoded import as_float
from audio_lightning.data.store.recordings import Recordings
from audio_lightning.features.memory import FeatureMemory
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.planning.settle import build_data
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.callbacks import measurable
from audio_lightning.training.decoding_progress import decoding_shown
from audio_lightning.training.embed_once import BATCH, embed_once, embed_views
from audio_lightning.training.samples import data_warnings

STATISTICS_CLIPS = 256
"""Maximum number of training clips, sampled with the seed, for feature statistics: it bounds the cost of a start."""


def open_data(datamodule: AudioDataModule, folder: RunFolder, *, write: bool) -> None:
    """Decode recordings that are not cached, make the splits, and check for leakage; problems go to ``problems.csv``.

    Args:
        datamodule: data module that has not been set up.
        folder: run folder.
        write: whether this process writes files and messages.

    Raises:
        DataError: see :meth:`AudioDataModule.setup`.
    """
    with decoding_shown(datamodule):
        try:
            datamodule.setup()
            datamodule.manifest.require_usable_classes()
        except ProblemsError as error:
            if write:
                _write_problems(folder.problems, error.problems)
            raise
    if datamodule.problems and write:
        _write_problems(folder.problems, datamodule.problems)
        print_and_log(
            f"{len(datamodule.problems)} problems in the data, listed in {folder.problems} "
            f"(data.bad_recordings={datamodule.checks.bad_recordings})"
        )
    if write and (beside := datamodule.unlisted()):
        s, are = ("", "is") if len(beside) == 1 else ("s", "are")
        print_and_log(
            f"note: {len(beside):,} recording{s} below {datamodule.root} {are} not listed and not used "
            f"(such as {printable(beside[0])})"
        )


def _write_problems(path: Path, problems: list[Problem]) -> None:
    write_csv(path, ["where", "what"], [(problem.where, problem.what) for problem in problems])


def settled_data(config: DictConfig, *, quiet: bool = False) -> AudioDataModule:
    """Build the data source, and replace every ``auto`` in the configuration, in place; print it unless ``quiet``.

    Raises:
        ConfigError, DataError: see :func:`audio_lightning.planning.settle.build_data`.
    """
    datamodule, choices = build_data(config, decoding_shown)
    for key, (value, why) in ({} if quiet else choices).items():
        print_and_log(f"{key}={'null' if value is None else value} (auto): {why}")
    return datamodule


def make_classifier(
    plain: dict[str, Any],
    config: DictConfig,
    datamodule: AudioDataModule,
    trainer: pl.Trainer,
    *,
    fit: bool = True,
    front_end: Mapping[str, Tensor] | None = None,
) -> AudioClassifier:
    """Build an untrained classifier, with feature statistics and with the recordings that its augmentation needs.

    Args:
        plain: resolved configuration, as it is stored in checkpoints.
        config: composed configuration.
        datamodule: data module that has been set up.
        trainer: trainer, whose strategy gives the device.
        fit: compute feature statistics; a resumed training reads them from its checkpoint.
        front_end: weights and statistics of the front end in that checkpoint. They are loaded before the rest, because
            clips are embedded and memorized here.
    """
    clips = len(datamodule.numbers(TRAIN))
    classifier = AudioClassifier(plain, datamodule.task.to_dict(), datamodule.class_counts(TRAIN), clips)
    begins = fit and classifier.begin()
    if front_end is not None and (isinstance(classifier.front_end, Embedding) or classifier.network.memorizes):
        classifier.front_end.load_state_dict(front_end)
    if isinstance(classifier.front_end, Embedding):
        classifier.front_end.to(trainer.strategy.root_device)
        classifier.memory = embed_once(classifier.front_end, datamodule, fit=fit and not (begins and begins.statistics))
    elif fit and classifier.front_end.needs_statistics and not (begins and begins.statistics):
        classifier.front_end.fit(datamodule.sample_waveforms(STATISTICS_CLIPS, seed=config.seed))
    for source in classifier.augmentation.lacks:
        _give_recordings(classifier, datamodule, source, config[f"{source}_dir"])
    if isinstance(classifier.front_end, Embedding) and classifier.front_end.views and classifier.distillation:
        print_and_log(
            f"note: feature.views={classifier.front_end.views} is not used: the teacher needs the waveforms of the "
            "augmented clips, so the published network embeds them in every epoch"
        )
    elif isinstance(classifier.front_end, Embedding):
        classifier.views = embed_views(classifier.front_end, classifier.augmentation, datamodule, plain)
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if classifier.memory is None and on_cpu and config.feature_memory_gb and not classifier.front_end.learnable:
        fixed = torch.from_numpy(~datamodule.clips.background)
        classifier.memory = FeatureMemory(fixed, config.feature_memory_gb / trainer.num_devices)
    if classifier.network.memorizes:
        # Also for a resumed training, although it loads the same later: callbacks copy the network before that.
        classifier.front_end.to(trainer.strategy.root_device)
        classifier.memorize(_training_clips(datamodule, trainer.strategy.root_device))
    return classifier


def _training_clips(datamodule: AudioDataModule, device: torch.device) -> Iterator[Batch]:
    """Yield all training clips in order, without augmentation."""
    clips = np.arange(len(datamodule.numbers(TRAIN)))
    for start in range(0, len(clips), BATCH):
        batch = datamodule.batch(TRAIN, clips[start : start + BATCH])
        yield {**batch, "waveform": batch["waveform"].to(device)}


def describe(classifier: AudioClassifier, datamodule: AudioDataModule, trainer: pl.Trainer) -> None:
    """Print a summary of the data and the network, and warnings about uncertain metrics."""
    clips = ", ".join(f"{split} {len(datamodule.numbers(split)):,}" for split in SPLITS)
    print_and_log(
        f"{len(classifier.task.classes)} classes; clips: {clips}; split {datamodule.split_method}; "
        f"leakage {datamodule.leakage}"
    )
    for note in datamodule.manifest.notes:
        print_and_log(f"note: {note}")
    for sentence in data_warnings(datamodule):
        print_and_log(f"warning: {sentence}")
    monitor = classifier.config["monitor"]
    if (chosen := measurable(monitor, datamodule)) != monitor:
        part = monitor.partition("/")[0]
        print_and_log(f"{monitor} is undefined because no {part} clip has a label; {chosen} chooses the epoch instead")
    shape = classifier.front_end.output_shape
    print_and_log(f"{classifier.network.title} on {shape}: {classifier.finetuning}")
    if classifier.beginning is not None:
        print_and_log(classifier.beginning)
    if trainer.strategy.root_device.type == "cpu" and trainer.world_size == 1:
        _note_busy_cores(torch.get_num_threads())


def _give_recordings(classifier: AudioClassifier, datamodule: AudioDataModule, source: str, folder: str | None) -> None:
    """Pass the recordings of ``folder`` to the augmentation; noise may also come from the data set itself."""
    own = datamodule.noise_paths() if source == "noise" else []
    files = find_recordings([Path(folder).expanduser()]) if folder else own
    if not files:
        lacking = {
            "noise": "adds background noise, but this data set has no noise recordings",
            "rir": "convolves clips with room impulse responses, but there are no recordings of them",
        }[source]
        if classifier.augmentation.leave_out(source):
            print_and_log(f"note: augment {lacking}; left out (set a folder of them by {source}_dir=DIR)")
            return
        raise ConfigError(f"augment {lacking}; set a folder of them by {source}_dir=DIR, or choose another augment")
    audio = datamodule.cache.decode(Recordings(files), datamodule.sample_rate)
    if audio.errors:
        raise DataError(f"a {source} recording cannot be used: {next(iter(audio.errors.values()))}")
    starts, stops = torch.from_numpy(audio.starts), torch.from_numpy(audio.stops)
    # A copy: the samples of the cache are read-only, and weight averaging and loading write to buffers.
    classifier.augmentation.set_recordings(source, as_tensor(as_float(audio.samples)).clone(), starts, stops)


def _note_busy_cores(threads: int) -> None:
    """Recommend fewer threads if other processes keep some of the cores busy."""
    if threads == 1:
        return
    busy, total = busy_cores()
    if (free := max(1, total - round(busy))) < threads:
        print_and_log(
            f"note: other processes keep {busy:.1f} of {total} cores busy, so that {threads} threads wait for each "
            f"other; OMP_NUM_THREADS={free} trains faster, with slightly different results"
        )
