"""One training: from a composed configuration to a finished run folder."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from audio_lightning.classifier.calibration import method_of
from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import check_choices, check_networks, without_pretrained
from audio_lightning.classifier.provenance import check_same_data
from audio_lightning.classifier.warm_start import ARCHITECTURE, FRONT_END, NETWORK
from audio_lightning.config import absolutize_paths, as_plain, check_unvalidated
from audio_lightning.config.automatic import automatic_keys, provisional
from audio_lightning.core import clock
from audio_lightning.core.cores import share_threads
from audio_lightning.core.environment import environment
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import without_nan, write_json
from audio_lightning.core.messages import logged_warnings
from audio_lightning.core.task import AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.durations import typical_seconds
from audio_lightning.data.manifest import TEST, VALIDATION
from audio_lightning.distributed.fsdp import ShardedStrategy
from audio_lightning.distributed.hosts import Peers
from audio_lightning.distributed.ranks import other_ranks
from audio_lightning.loggers.loggers import runs_ended
from audio_lightning.loggers.media.callback import MediaCallback
from audio_lightning.models.memory import memory_names
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.planning.settle import build_source
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.allocator import keep_freed_memory, leave_new_memory_unfilled
from audio_lightning.training.callbacks import measurable
from audio_lightning.training.checkpoints import find_resumable
from audio_lightning.training.embed_once import KnownEmbeddings
from audio_lightning.training.finders import FOUND, find, keep_found, searches
from audio_lightning.training.history import History
from audio_lightning.training.precision import interruptible, say_precision, translate_errors
from audio_lightning.training.results import recording_metrics, targets_of, write_results
from audio_lightning.training.setup import describe, make_classifier, open_data, settled_data
from audio_lightning.training.summary import Metrics, summarize
from audio_lightning.training.trainer import make_callbacks, make_loggers, make_trainer, silence_lightning


@logged_warnings()
def train(
    config: DictConfig, folder: RunFolder, *, resume: bool = False, callbacks: Sequence[Callback] = ()
) -> Metrics:
    """Train, choose the best epoch on the validation clips, test it once, and write the run folder.

    Without validation clips the last epoch is used; without test clips there is no test. With several devices, each has
    its own process, and the first process writes all files.

    Args:
        config: composed and checked configuration (:func:`audio_lightning.config.check_config`).
        folder: run folder.
        resume: continue from ``checkpoints/last.ckpt`` of the folder (from the previous checkpoint if that is damaged);
            begin a new training if there is no checkpoint yet.
        callbacks: callbacks in addition to those of the configuration; with several devices, only the first process
            has them.

    Returns:
        The contents of ``metrics.json``; None for an undefined metric.

    Raises:
        ConfigError: a mistake in the configuration that only its classes can find.
        CheckpointError: there is no usable checkpoint to resume from.
        DataError: see :meth:`AudioDataModule.setup`; all problems are also in ``problems.csv``. Also raised if the data
            of a resumed run has changed.
        RankError: the process of another device ended early.
        Interrupted: Ctrl-C or SIGTERM.
    """
    silence_lightning()
    keep_freed_memory()
    leave_new_memory_unfilled()
    share_threads(1)
    absolutize_paths(config)
    pl.seed_everything(config.seed, verbose=False)
    checkpoint, saved = (find_resumable(folder) if resume else None) or (None, None)
    if saved is not None:
        keep_found(config, saved["hyper_parameters"]["config"])
    if automatic_keys(config):
        _check_before_measuring(config, folder)
    datamodule = settled_data(config)
    plain = _resolve(config, saved)

    # All checks that do not need the decoded recordings come first.
    check_networks(plain, _task_of(datamodule))
    history, media = History(folder.history), MediaCallback(plain.get("dashboard"))
    named = make_callbacks(config, history, [*callbacks, media])
    trainer = make_trainer(config, folder, named, make_loggers(config, folder))
    say_precision(trainer, config.trainer.precision)
    peers = Peers(trainer, folder)

    if trainer.is_global_zero and saved is None:
        _write_settings(folder, config)
    with peers.agreed():
        open_data(datamodule, folder, write=trainer.is_global_zero)
        _check_data(config, datamodule, saved)
    if trainer.is_global_zero and saved is not None:  # only now, so that a run with other data stays unchanged
        _write_settings(folder, config)
    front_end = None if saved is None else _front_end_of(saved)
    del saved  # frees the memory of weights and optimizer state
    _choose_monitor(plain, datamodule)

    started = clock.perf_counter()
    if checkpoint is None:  # a resumed training keeps what was found
        _search(config, plain, datamodule, trainer, folder)
    classifier = make_classifier(plain, config, datamodule, trainer, fit=checkpoint is None, front_end=front_end)
    describe(classifier, datamodule, trainer)
    _prepare(classifier, compiled=bool(config.get("compile")))

    ranks = other_ranks(trainer, config, folder, resume=resume)
    with runs_ended(trainer), ranks, peers.watched(), translate_errors(classifier):
        with interruptible(trainer):
            trainer.fit(classifier, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        leaks, classifier.teacher = classifier.taught_by_leak, None  # frees the memory of the teacher
        classifier, best_epoch = _load_best(classifier, trainer, folder)
        validated = _validate(classifier, datamodule, trainer, folder, plain)
        testing = clock.perf_counter()
        if len(datamodule.numbers(TEST)):
            with interruptible(trainer):
                trainer.test(classifier, datamodule=datamodule, verbose=False)
        tested = clock.perf_counter()

        metrics = summarize(classifier, datamodule, trainer, history, best_epoch=best_epoch)
        metrics |= validated | _found(config) | ({"leakage": "present"} if leaks else {})
        metrics["test_seconds"] = round(tested - testing, 3)
        metrics["total_seconds"] = round(clock.perf_counter() - started, 3)
        if trainer.is_global_zero:
            if len(datamodule.numbers(TEST)):
                write_results(folder, classifier, datamodule)
            write_json(folder.metrics, metrics)
            media.show_results(trainer, classifier, datamodule)
    return without_nan(metrics)


def _check_before_measuring(config: DictConfig, folder: RunFolder) -> None:
    """Check what does not depend on keys that are ``auto``, because measuring many recordings takes minutes.

    Raises:
        ConfigError: see :func:`check_choices`, :func:`make_callbacks`, :func:`make_loggers` and :func:`make_trainer`.
    """
    given = provisional(config)
    data = build_source(given)
    with torch.random.fork_rng(devices=()):  # the random numbers of a training do not depend on its checks
        check_choices(as_plain(given), _task_of(data))
    callbacks = make_callbacks(given, History(folder.history))
    make_trainer(given, folder, callbacks, make_loggers(given, folder))


def _task_of(data: AudioDataModule) -> AudioTask:
    """Return a task for checks, with the clips of a data source whose classes are not known yet."""
    return AudioTask(("a", "b"), data.sample_rate, data.num_samples, data.padding)


def _resolve(config: DictConfig, saved: dict[str, Any] | None) -> dict[str, Any]:
    """Return the configuration as plain values; for a resumed run, with the networks of its checkpoint."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    if saved is not None:
        before = saved["hyper_parameters"]["config"]
        found = {ARCHITECTURE: before["feature"][ARCHITECTURE]} if ARCHITECTURE in before["feature"] else {}
        plain = without_pretrained({**plain, "model": before["model"], "feature": {**plain["feature"], **found}})
    return dict(plain)


def _front_end_of(saved: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights and statistics of the front end of a resumed run."""
    state = saved["state_dict"].items()
    return {name.removeprefix(FRONT_END): value for name, value in state if name.startswith(FRONT_END)}


def _write_settings(folder: RunFolder, config: DictConfig) -> None:
    folder.write_config(config)
    write_json(folder.environment, environment())


def _check_data(config: DictConfig, datamodule: AudioDataModule, saved: dict[str, Any] | None) -> None:
    if saved is not None:
        check_same_data(saved, datamodule)
    if not (len(datamodule.numbers(VALIDATION)) or config.data.get("validation_fraction")):
        check_unvalidated(config, "data.validation_fraction=0.0")


def _choose_monitor(plain: dict[str, Any], datamodule: AudioDataModule) -> None:
    """Set the monitor of a plateau scheduler to a metric that the clips define."""
    node = plain["scheduler"]
    if "monitor" in node or str(node["_target_"]).endswith("ReduceLROnPlateau"):
        node["monitor"] = measurable(node.get("monitor") or plain["monitor"], datamodule)


def _search(
    config: DictConfig, plain: dict[str, Any], datamodule: AudioDataModule, trainer: pl.Trainer, folder: RunFolder
) -> None:
    """Search for a learning rate or a batch size, if the configuration enables it."""
    if not searches(config):
        return

    def untrained() -> AudioClassifier:
        # Frozen layers stay frozen: the steps of a search may be many epochs.
        finetune = {**(plain.get("finetune") or {}), "unfreeze_epoch": None}
        changed = {**plain, "scheduler": {"_target_": None}, "finetune": finetune}
        return make_classifier(changed, config, datamodule, trainer)

    find(config, untrained, datamodule, folder)
    folder.write_config(config)
    plain["optimizer"]["lr"], plain["data"]["batch_size"] = config.optimizer.lr, config.data.batch_size


def _found(config: DictConfig) -> Metrics:
    keys = [FOUND[search] for search in searches(config)]
    return {f"found_{key.rpartition('.')[2]}": OmegaConf.select(config, key) for key in keys}


def _prepare(classifier: AudioClassifier, *, compiled: bool) -> None:
    if compiled:
        classifier.compile_network()
    # Buffers that are equal in all processes, which DDP would otherwise synchronize in every step.
    same = [f"augmentation.{name}" for name, _ in classifier.augmentation.named_buffers()]
    same += [f"{NETWORK}{name}" for name in memory_names(classifier.network)]
    if isinstance(classifier.front_end, Embedding):
        same += [f"{FRONT_END}{name}" for name, _ in classifier.front_end.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(classifier, same)


def _load_best(classifier: AudioClassifier, trainer: pl.Trainer, folder: RunFolder) -> tuple[AudioClassifier, int]:
    """Return the classifier with the weights of the best epoch, and the number of that epoch, from 1."""
    if not isinstance(classifier.memory, KnownEmbeddings):  # these include the test clips
        classifier.memory = None
    if not folder.best.exists():
        raise ConfigError(
            "the training ended before an epoch was validated, so there are no weights to test; change "
            "trainer.max_time or trainer.check_val_every_n_epoch"
        )
    best = read_checkpoint(folder.best)
    if isinstance(trainer.strategy, ShardedStrategy):  # this process has only a shard of the trained network
        parameters = best["hyper_parameters"]
        classifier = AudioClassifier(**{**parameters, "config": without_pretrained(parameters["config"])})
    classifier.load_state_dict(best["state_dict"])
    return classifier, best["epoch"] + 1


def _validate(
    classifier: AudioClassifier,
    datamodule: AudioDataModule,
    trainer: pl.Trainer,
    folder: RunFolder,
    plain: dict[str, Any],
) -> Metrics:
    """Store in the checkpoint of the best weights what the validation clips determine.

    The weights are validated again, if calibration, thresholds or metrics of whole recordings need it.

    Metrics of whole recordings are computed before calibration, as those of the epochs are.
    """
    multilabel, windows = classifier.task.multilabel, datamodule.hop_samples is not None
    calibration = method_of(plain.get("calibration", "none"), multilabel=multilabel)
    if not len(datamodule.numbers(VALIDATION)):
        return {}
    if trainer.is_global_zero and (seconds := typical_seconds(datamodule, VALIDATION)) is not None:
        classifier.sounding_seconds = torch.from_numpy(seconds)
    if not (multilabel or windows or calibration != "none"):
        classifier.store_decisions(folder.best)
        return {}
    with interruptible(trainer):
        trainer.validate(classifier, datamodule=datamodule, verbose=False)
    metrics = dict[str, float](recording_metrics(classifier, datamodule, VALIDATION))
    targets = targets_of(datamodule, classifier.last_logits()[0])
    classifier.calibrate(targets, calibration)
    if multilabel:
        classifier.choose_thresholds(targets)
    classifier.store_decisions(folder.best)
    temperature = classifier.calibration.temperature
    return {**metrics, **({} if temperature is None else {"temperature": temperature})}
