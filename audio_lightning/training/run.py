"""One training, from a composed configuration to a run folder."""

import time
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from audio_lightning.classifier.calibration import method_of
from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import check_networks, without_pretrained
from audio_lightning.classifier.provenance import check_same_data
from audio_lightning.classifier.warm_start import ARCHITECTURE, FRONT_END, NETWORK
from audio_lightning.config import absolutize_paths, check_unvalidated
from audio_lightning.core.cores import share_threads
from audio_lightning.core.environment import environment
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import without_nan, write_json
from audio_lightning.core.messages import logged_warnings
from audio_lightning.core.task import AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, VALIDATION
from audio_lightning.distributed.fsdp import ShardedStrategy
from audio_lightning.distributed.hosts import Peers
from audio_lightning.distributed.ranks import other_ranks
from audio_lightning.loggers.loggers import runs_ended
from audio_lightning.loggers.media.callback import MediaCallback
from audio_lightning.models.memory import memory_names
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.allocator import keep_freed_memory, leave_new_memory_unfilled
from audio_lightning.training.callbacks import measurable
from audio_lightning.training.checkpoints import find_resumable
from audio_lightning.training.embed_once import KnownEmbeddings
from audio_lightning.training.finders import FOUND, find, keep_found, searches
from audio_lightning.training.history import History
from audio_lightning.training.precision import interruptible, translate_errors
from audio_lightning.training.results import recording_metrics, targets_of, write_results
from audio_lightning.training.setup import describe, make_classifier, open_data, settled_data
from audio_lightning.training.summary import Metrics, summarize
from audio_lightning.training.trainer import make_callbacks, make_loggers, make_trainer, silence_lightning


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
    silence_lightning()
    keep_freed_memory()
    leave_new_memory_unfilled()
    share_threads(1)
    absolutize_paths(config)
    pl.seed_everything(config.seed, verbose=False)
    checkpoint, saved = (find_resumable(folder) if resume else None) or (None, None)
    if saved is not None:
        keep_found(config, saved["hyper_parameters"]["config"])
    datamodule = settled_data(config)
    plain = _resolve(config, saved)

    # Everything that can be wrong without a look at the recordings comes before them.
    check_networks(plain, AudioTask(("a", "b"), datamodule.sample_rate, datamodule.num_samples, datamodule.padding))
    history, media = History(folder.history), MediaCallback(plain.get("dashboard"))
    named = make_callbacks(config, history, [*callbacks, media])
    trainer = make_trainer(config, folder, named, make_loggers(config, folder))
    peers = Peers(trainer, folder)

    if trainer.is_global_zero and saved is None:
        _write_settings(folder, config)
    with peers.agreed():
        open_data(datamodule, folder, write=trainer.is_global_zero)
        _check_data(config, datamodule, saved)
    if trainer.is_global_zero and saved is not None:  # not before: on other data the run stays as it is
        _write_settings(folder, config)
    front_end = None if saved is None else _front_end_of(saved)
    del saved  # its weights and the optimizer's take memory
    _choose_monitor(plain, datamodule)

    started = time.perf_counter()
    if checkpoint is None:  # a resumed training keeps what was found
        _search(config, plain, datamodule, trainer, folder)
    classifier = make_classifier(plain, config, datamodule, trainer, fit=checkpoint is None, front_end=front_end)
    describe(classifier, datamodule, trainer)
    _prepare(classifier, compiled=bool(config.get("compile")))

    ranks = other_ranks(trainer, config, folder, resume=resume)
    with runs_ended(trainer), ranks, peers.watched(), translate_errors(classifier):
        with interruptible(trainer):
            trainer.fit(classifier, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        classifier, best_epoch = _load_best(classifier, trainer, folder)
        validated = _validate(classifier, datamodule, trainer, folder, plain)
        testing = time.perf_counter()
        if len(datamodule.numbers(TEST)):
            with interruptible(trainer):
                trainer.test(classifier, datamodule=datamodule, verbose=False)
        tested = time.perf_counter()

        metrics = summarize(classifier, datamodule, trainer, history, best_epoch=best_epoch)
        metrics |= validated | _found(config)
        metrics["test_seconds"] = round(tested - testing, 3)
        metrics["total_seconds"] = round(time.perf_counter() - started, 3)
        if trainer.is_global_zero:
            if len(datamodule.numbers(TEST)):
                write_results(folder, classifier, datamodule)
            write_json(folder.metrics, metrics)
            media.show_results(trainer, classifier, datamodule)
    return without_nan(metrics)


def _resolve(config: DictConfig, saved: dict[str, Any] | None) -> dict[str, Any]:
    """The configuration as plain values, with the networks of the weights that a resumed run has."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    if saved is not None:
        before = saved["hyper_parameters"]["config"]
        found = {ARCHITECTURE: before["feature"][ARCHITECTURE]} if ARCHITECTURE in before["feature"] else {}
        plain = without_pretrained({**plain, "model": before["model"], "feature": {**plain["feature"], **found}})
    return dict(plain)


def _front_end_of(saved: dict[str, Any]) -> dict[str, Tensor]:
    """Weights and statistics of the front end of a resumed run."""
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
    """Let a scheduler that waits for a metric wait for one that these clips define."""
    node = plain["scheduler"]
    if "monitor" in node or str(node["_target_"]).endswith("ReduceLROnPlateau"):
        node["monitor"] = measurable(node.get("monitor") or plain["monitor"], datamodule)


def _search(
    config: DictConfig, plain: dict[str, Any], datamodule: AudioDataModule, trainer: pl.Trainer, folder: RunFolder
) -> None:
    """Search for a learning rate or a batch size, where the configuration asks for it."""
    if not searches(config):
        return

    def untrained() -> AudioClassifier:
        # What is frozen stays so: the steps of a search may be many epochs.
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
    # All processes have the same ones, and would exchange them in every step.
    same = [f"augmentation.{name}" for name, _ in classifier.augmentation.named_buffers()]
    same += [f"{NETWORK}{name}" for name in memory_names(classifier.network)]
    if isinstance(classifier.front_end, Embedding):
        same += [f"{FRONT_END}{name}" for name, _ in classifier.front_end.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(classifier, same)


def _load_best(classifier: AudioClassifier, trainer: pl.Trainer, folder: RunFolder) -> tuple[AudioClassifier, int]:
    """The classifier with the weights of the best epoch, and the number of that epoch, from 1."""
    if not isinstance(classifier.memory, KnownEmbeddings):  # which are those of the tested clips, too
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
    return classifier, best["epoch"] + 1


def _validate(
    classifier: AudioClassifier,
    datamodule: AudioDataModule,
    trainer: pl.Trainer,
    folder: RunFolder,
    plain: dict[str, Any],
) -> Metrics:
    """Validate the best weights again where that says more than their epoch did.

    Calibration, thresholds, and metrics of whole recordings; these are of probabilities before calibration, as those of
    the epochs are.
    """
    multilabel, windows = classifier.task.multilabel, datamodule.hop_samples is not None
    calibration = method_of(plain.get("calibration", "none"), multilabel=multilabel)
    if not (multilabel or windows or calibration != "none") or not len(datamodule.numbers(VALIDATION)):
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
