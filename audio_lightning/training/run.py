"""One training, from a composed configuration to a run folder."""

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from torch.nn.parallel import DistributedDataParallel

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier, check_same_data
from audio_lightning.classifier.costs import costs
from audio_lightning.classifier.factory import check_networks, without_pretrained
from audio_lightning.config import anchor_paths, build, check_unvalidated
from audio_lightning.core.cores import busy_cores, share_threads
from audio_lightning.core.environment import environment
from audio_lightning.core.errors import ConfigError, DataError, FileError
from audio_lightning.core.files import without_nan, write_csv, write_json
from audio_lightning.core.messages import logged_warnings, print_and_log
from audio_lightning.core.task import AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.gather import as_tensor
from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION
from audio_lightning.data.problems import Problem, ProblemsError, printable
from audio_lightning.data.store.decoded import as_float
from audio_lightning.data.store.recordings import Recordings
from audio_lightning.distributed.fsdp import ShardedStrategy
from audio_lightning.distributed.hosts import Peers
from audio_lightning.distributed.ranks import Together, other_ranks
from audio_lightning.features.memory import FeatureMemory
from audio_lightning.loggers.loggers import runs_ended
from audio_lightning.loggers.media.callback import Dashboard
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.allocator import keep_freed_memory
from audio_lightning.training.averaging import Averaging
from audio_lightning.training.callbacks import (
    BestCheckpoint,
    EpochBar,
    EpochLines,
    FiniteLoss,
    History,
    LastCheckpoint,
    LastStep,
    measurable,
)
from audio_lightning.training.checkpoints import CheckpointFiles, find_resumable
from audio_lightning.training.finders import find, keep_found
from audio_lightning.training.lightning_callbacks import check_callback
from audio_lightning.training.precision import (
    check_compiler,
    in_a_line,
    interruptible,
    say_precision,
    trainer_arguments,
)
from audio_lightning.training.progress import decoding_shown
from audio_lightning.training.ratejump import RateJump
from audio_lightning.training.results import division, measured, recording_metrics, warnings_of, write_results
from audio_lightning.training.samples import data_warnings

STATISTICS_CLIPS = 256
"""Most training clips, drawn by the seed, from which feature statistics are taken: a bound on what a start costs."""

Metrics = dict[str, float | int | str | bool | None]


@logged_warnings()
def train(
    config: DictConfig, folder: RunFolder, *, resume: bool = False, callbacks: Sequence[Callback] = ()
) -> Metrics:
    """Train, choose the best epoch on the validation clips, test it once, and write the run folder.

    Where there are no validation clips the last epoch is taken, and where there are no test clips none is tested. On
    several devices there is a process for each, of which the first writes all files.

    Args:
        config: composed and checked (:func:`audio_lightning.config.check_config`).
        folder: where everything goes.
        resume: go on from ``checkpoints/last.ckpt`` of the folder (or the one before it, where that is damaged), or
            from the start if there is none yet.
        callbacks: more of them than the configuration names; on several devices, the first process alone has them.

    Returns:
        The contents of ``metrics.json``; None for a metric that nothing defines.

    Raises:
        ConfigError: what only the targets themselves can find wrong with the configuration.
        CheckpointError: no checkpoint to resume from.
        DataError: see :meth:`AudioDataModule.setup`; all problems are in ``problems.csv``, too. Also data that is not
            what the run was trained on before.
        RankError: on several devices, the process of another one ended before its time.
        Interrupted: Ctrl-C or SIGTERM.
    """
    quieten()
    keep_freed_memory()
    share_threads(1)
    anchor_paths(config)
    pl.seed_everything(config.seed, verbose=False)
    checkpoint, saved = (find_resumable(folder) if resume else None) or (None, None)
    if saved is not None:
        keep_found(config, saved["hyper_parameters"]["config"])
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    if saved is not None:
        plain = without_pretrained({**plain, "model": saved["hyper_parameters"]["config"]["model"]})
    # Everything that can be wrong without a look at the recordings comes before them.
    datamodule = build(config.data, AudioDataModule, where="data")
    check_networks(plain, AudioTask(("a", "b"), datamodule.sample_rate, datamodule.num_samples, datamodule.padding))
    history = History(folder.history)
    dashboard = Dashboard(plain.get("dashboard"))
    trainer = make_trainer(config, folder, history, [*callbacks, dashboard])
    peers = Peers(trainer, folder)
    searched = bool(config.get("find_lr") or config.get("find_batch_size"))
    if searched and trainer.world_size > 1:
        raise ConfigError(
            "find_lr=true and find_batch_size=true search on one device: do so with trainer.devices=1, and give what "
            "is found as optimizer.lr and data.batch_size"
        )
    if trainer.is_global_zero and saved is None:
        _write_settings(folder, config)
    with peers.agreed():
        _open_data(datamodule, folder, write=trainer.is_global_zero)
        if saved is not None:
            check_same_data(saved, datamodule)
        if not (len(datamodule.numbers(VALIDATION)) or config.data.get("validation_fraction")):
            check_unvalidated(config, "data.validation_fraction=0.0")
    if trainer.is_global_zero and saved is not None:  # not before: on other data the run stays as it is
        _write_settings(folder, config)
    del saved  # its weights and the optimizer's take memory
    if "monitor" in plain["scheduler"] or str(plain["scheduler"]["_target_"]).endswith("ReduceLROnPlateau"):
        plain["scheduler"]["monitor"] = measurable(plain["scheduler"].get("monitor") or plain["monitor"], datamodule)

    started = time.perf_counter()
    if searched and checkpoint is None:  # a resumed training keeps what was found

        def untrained() -> AudioClassifier:
            # What is frozen stays so: the steps of a search may be many epochs.
            finetune = {**(plain.get("finetune") or {}), "unfreeze_epoch": None}
            changed = {**plain, "scheduler": {"_target_": None}, "finetune": finetune}
            return _make_classifier(changed, config, datamodule, trainer)

        find(config, untrained, datamodule, folder)
        folder.write_config(config)
        plain["optimizer"]["lr"], plain["data"]["batch_size"] = config.optimizer.lr, config.data.batch_size
    classifier = _make_classifier(plain, config, datamodule, trainer, fit=checkpoint is None)
    _describe(classifier, datamodule)
    if trainer.strategy.root_device.type == "cpu" and trainer.world_size == 1:
        _note_busy_cores(torch.get_num_threads())
    if config.get("compile"):
        classifier.compile_network()
    # All processes have the same ones, and would exchange them in every step.
    recordings = [f"augmentation.{name}" for name, _ in classifier.augmentation.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(classifier, recordings)
    with (
        runs_ended(trainer),
        other_ranks(trainer, config, folder, resume=resume),
        peers.watched(),
        in_a_line(classifier),
    ):
        with interruptible(trainer):
            trainer.fit(classifier, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        classifier.memory = None

        if not folder.best.exists():
            raise ConfigError(
                "the training ended before an epoch was validated, so there are no weights to test: see "
                "trainer.max_time and trainer.check_val_every_n_epoch"
            )
        best = read_checkpoint(folder.best)
        if isinstance(trainer.strategy, ShardedStrategy):  # this process has a part of the one that was trained
            parameters = best["hyper_parameters"]
            classifier = AudioClassifier(**{**parameters, "config": without_pretrained(parameters["config"])})
        classifier.load_state_dict(best["state_dict"])
        whole: Metrics = {}
        multilabel, windows = classifier.task.multilabel, datamodule.hop_samples is not None
        if (multilabel or windows) and len(datamodule.numbers(VALIDATION)):
            with interruptible(trainer):
                trainer.validate(classifier, datamodule=datamodule, verbose=False)
            if multilabel:
                classifier.choose_thresholds()
                classifier.store_thresholds(folder.best)
            whole.update(recording_metrics(classifier, datamodule, VALIDATION))
        testing = time.perf_counter()
        if len(datamodule.numbers(TEST)):
            with interruptible(trainer):
                trainer.test(classifier, datamodule=datamodule, verbose=False)
        tested = time.perf_counter()
        metrics = _metrics(classifier, datamodule, trainer, history, best_epoch=best["epoch"] + 1) | whole
        if config.get("find_lr"):
            metrics["found_lr"] = config.optimizer.lr
        if config.get("find_batch_size"):
            metrics["found_batch_size"] = config.data.batch_size
        metrics["test_seconds"] = round(tested - testing, 3)
        metrics["total_seconds"] = round(time.perf_counter() - started, 3)
        if trainer.is_global_zero:
            if len(datamodule.numbers(TEST)):
                write_results(folder, classifier, datamodule)
            write_json(folder.metrics, metrics)
            dashboard.show_results(trainer, classifier, datamodule)
    return without_nan(metrics)


def _make_classifier(
    plain: dict[str, Any], config: DictConfig, datamodule: AudioDataModule, trainer: pl.Trainer, *, fit: bool = True
) -> AudioClassifier:
    """An untrained classifier with all that it needs of the data."""
    clips = len(datamodule.numbers(TRAIN))
    classifier = AudioClassifier(plain, datamodule.task.to_dict(), datamodule.class_counts(TRAIN), clips)
    if fit and classifier.front_end.needs_statistics:
        classifier.front_end.fit(datamodule.sample_waveforms(STATISTICS_CLIPS, seed=config.seed))
    for source in classifier.augmentation.lacks:
        _give_recordings(classifier, datamodule, source, config[f"{source}_dir"])
    if trainer.strategy.root_device.type == "cpu" and config.feature_memory_gb and not classifier.front_end.learnable:
        fixed = torch.from_numpy(~datamodule.clips.background)
        classifier.memory = FeatureMemory(fixed, config.feature_memory_gb / trainer.num_devices)
    return classifier


def make_trainer(config: DictConfig, folder: RunFolder, history: History, more: Sequence[Callback] = ()) -> pl.Trainer:
    """Lightning's Trainer with the callbacks and loggers that the configuration names.

    Raises:
        ConfigError: arguments that the Trainer refuses, what does not go together, or a logger whose package is not
            installed.
    """
    callbacks: list[Callback] = [FiniteLoss(), LastStep(), RateJump(), history, EpochLines(history), *more]
    chosen = {name: node for name, node in config.callbacks.items() if node is not None}
    for name, node in chosen.items():
        check_callback(node.get("_target_"), where=f"callbacks.{name}")
    named = [build(node, Callback, where=f"callbacks.{name}") for name, node in chosen.items()]
    has_bar = any(isinstance(callback, ProgressBar) for callback in named)
    if sys.stdout.isatty() and not has_bar:  # elsewhere, in a file or a pipe, a bar would be noise
        callbacks.append(EpochBar(leave=False))
        has_bar = True
    averages = [name for name, callback in zip(chosen, named) if isinstance(callback, Averaging)]
    if len(averages) > 1:
        raise ConfigError(
            f"callbacks=[{','.join(averages)}]: each puts its average in place of the weights; choose one"
        )
    if not any(isinstance(callback, BestCheckpoint) for callback in named):
        raise ConfigError("callbacks.best is not there, and it keeps the weights that are tested: leave it as it is")
    callbacks += [Together(), *sorted(named, key=lambda callback: isinstance(callback, LastCheckpoint))]
    loggers = []
    for name, node in config.logger.items():
        if node is None:
            continue
        try:
            loggers.append(build(node, Logger, where=f"logger.{name}", offered={"save_dir": str(folder.path)}))
        except ModuleNotFoundError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"logger={name} needs a package that is not installed ({reason}): pip install 'audio-lightning[{name}]'"
            ) from error
    arguments: Any = OmegaConf.to_container(config.trainer, resolve=True)
    try:
        arguments = trainer_arguments(arguments, folder, compiled=bool(config.get("compile")))
    except (KeyError, TypeError) as error:  # a key that is missing, or a value of another type
        raise ConfigError(f"trainer: {type(error).__name__}: {error}") from error
    if arguments["strategy"] == "fsdp":
        if averages:
            raise ConfigError(
                f"callbacks={averages[0]} averages whole networks, and trainer=fsdp divides them: choose trainer=ddp"
            )
        if config.finetune.unfreeze_epoch is not None:
            raise ConfigError(
                "finetune.unfreeze_epoch freezes parts of what trainer=fsdp takes as one: choose trainer=ddp, or "
                "freeze them for good"
            )
        arguments["strategy"] = ShardedStrategy()
    try:
        trainer = pl.Trainer(
            **arguments,
            callbacks=callbacks,
            plugins=[CheckpointFiles(folder)],
            logger=loggers or False,
            default_root_dir=str(folder.path),
            enable_progress_bar=has_bar,
            enable_model_summary=False,
            # Its metrics would count as the best so far; the data has been checked by then anyway.
            num_sanity_val_steps=0,
            # The data module divides clips among processes, without any of them counting twice in an evaluation.
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {str(error).strip().splitlines()[0]}") from error
    say_precision(trainer, config.trainer.precision)
    if config.get("compile"):
        check_compiler(trainer.strategy.root_device)
    return trainer


def _write_settings(folder: RunFolder, config: DictConfig) -> None:
    folder.write_config(config)
    write_json(folder.environment, environment())


def _open_data(datamodule: AudioDataModule, folder: RunFolder, *, write: bool) -> None:
    with decoding_shown(datamodule):
        try:
            datamodule.setup()
            datamodule.manifest.require_several_classes()
        except ProblemsError as error:
            if write:
                _write_problems(folder.problems, error.problems)
            raise
    if datamodule.problems and write:
        _write_problems(folder.problems, datamodule.problems)
        print_and_log(
            f"{len(datamodule.problems)} problems in the data, listed in {folder.problems} "
            f"(data.bad_recordings={datamodule.bad_recordings})"
        )
    if write and (beside := datamodule.unlisted()):
        s, are = ("", "is") if len(beside) == 1 else ("s", "are")
        print_and_log(
            f"note: {len(beside):,} recording{s} below {datamodule.root} {are} not listed, and so not used "
            f"(such as {printable(beside[0])})"
        )


def _write_problems(path: Path, problems: list[Problem]) -> None:
    write_csv(path, ["where", "what"], [(problem.where, problem.what) for problem in problems])


def _describe(classifier: AudioClassifier, datamodule: AudioDataModule) -> None:
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
        print_and_log(f"{monitor} is not defined, for no {part} clip has a label; {chosen} chooses the epoch instead")
    shape = classifier.front_end.output_shape
    print_and_log(f"{classifier.network.title} on {shape}: {classifier.finetuning}")


def _note_busy_cores(threads: int) -> None:
    """Say that fewer threads are faster where other processes need the cores of some of them."""
    if threads == 1:
        return
    busy, total = busy_cores()
    if (free := max(1, total - round(busy))) < threads:
        print_and_log(
            f"note: other processes keep {busy:.1f} of {total} cores busy, so that {threads} threads wait for each "
            f"other; OMP_NUM_THREADS={free} trains faster beside them, with slightly other numbers"
        )


def _give_recordings(classifier: AudioClassifier, datamodule: AudioDataModule, source: str, folder: str | None) -> None:
    """Hand the recordings of ``folder`` to the augmentation; of noise, the data set may have some of its own."""
    own = datamodule.noise_paths() if source == "noise" else []
    files = find_recordings([Path(folder).expanduser()]) if folder else own
    if not files:
        lacking = {
            "noise": "adds background noise, and this data set has no recordings of noise",
            "room": "puts clips into recorded rooms, and there are no recordings of impulse responses",
        }[source]
        raise ConfigError(f"augment {lacking}: name a folder of them by {source}_dir=DIR, or choose another augment")
    audio = datamodule.cache.decode(Recordings(files), datamodule.sample_rate)
    if audio.errors:
        raise DataError(f"a {source} recording cannot be used: {next(iter(audio.errors.values()))}")
    starts, stops = torch.from_numpy(audio.starts), torch.from_numpy(audio.stops)
    # A copy: the cache's own samples must not be written to, and whoever averages or loads weights writes to buffers.
    classifier.augmentation.set_recordings(source, as_tensor(as_float(audio.samples)).clone(), starts, stops)


def _metrics(
    classifier: AudioClassifier,
    datamodule: AudioDataModule,
    trainer: pl.Trainer,
    history: History,
    *,
    best_epoch: int,
) -> Metrics:
    best = next((row for row in history.rows if int(row["epoch"]) == best_epoch), None)
    if best is None:
        raise FileError(f"{history.path} has no epoch {best_epoch}, which checkpoints/best.ckpt is from")
    training_seconds = sum(float(row["training_seconds"]) for row in history.rows)
    clips = {f"clips/{split}": len(datamodule.numbers(split)) for split in SPLITS}
    part = VALIDATION if clips["clips/validation"] else TRAIN
    tested = measured(classifier, datamodule) if clips["clips/test"] else {}
    if tested:  # fewer than there are, where a debug setting limits the batches
        clips["clips/test"] = len(classifier.last_predictions()[0])
    learned = {name: float(value) for name, value in best.items() if name.startswith(f"{part}/") and value}
    return {
        **tested,
        **learned,
        **costs(classifier),
        "epochs": len(history.rows),
        "best_epoch": best_epoch,
        "chosen_by": next(found for found in trainer.callbacks if isinstance(found, BestCheckpoint)).chosen_by,  # type: ignore[attr-defined]
        "seconds": round(sum(float(row["seconds"]) for row in history.rows), 3),
        "clips_per_second": round(clips["clips/train"] * len(history.rows) / training_seconds, 1),
        **clips,
        **division(datamodule),
        **warnings_of(datamodule),
        "precision": str(trainer.precision),
        **({"float32_layers": " ".join(classifier.float32_layers)} if classifier.float32_layers else {}),
        "device": str(trainer.strategy.root_device),
        "devices": trainer.world_size,
    }


def quieten() -> None:
    """Keep what Lightning says about itself off the screen; what concerns the user's run is said here or raised."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*log_every_n_steps.*",
        ".*LeafSpec.*",
        ".*Total length of .tuple. across ranks is zero.*",  # there are no validation clips, as asked for
        ".*Trying to infer the .batch_size.*",
        ".*callbacks used to create the checkpoint.*",
        ".*could not find the monitored key.*",  # nothing is validated in this epoch, as asked for
        ".*ReduceLROnPlateau conditioned on metric.*",  # the same
        ".*AMP with fp16 is not supported on CPU.*",  # what runs instead is said by say_precision
        ".*sync_dist=True.*",  # what is logged has been gathered from all processes already
    ):
        warnings.filterwarnings("ignore", message=message)
