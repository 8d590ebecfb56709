"""Base class of trained classifiers: prediction and test."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from audio_lightning.classifier.autocast import say_float32, use_float32_where_needed
from audio_lightning.classifier.calibration import Calibration, Method, fit
from audio_lightning.classifier.provenance import check_task
from audio_lightning.classifier.validated import ValidatedClips
from audio_lightning.core.task import UNKNOWN, AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.batches import Batch
from audio_lightning.losses.objective import make_objective
from audio_lightning.metrics.base import EvaluationMetrics, Predictions
from audio_lightning.metrics.configured import ConfiguredMetrics
from audio_lightning.metrics.factory import make_metrics
from audio_lightning.metrics.multilabel import MultilabelMetrics
from audio_lightning.models.base import AudioModel


class Classifier(pl.LightningModule):
    """Base class of classifiers: from waveforms to logits, probabilities, labels and embeddings, with test metrics.

    Prediction, embedding and evaluation only use this interface. Subclasses implement ``forward``, ``embed``,
    ``networks`` and ``embedding_dim``.

    Args:
        config: the composed configuration as plain Python.
        task: the classification task.

    Attributes:
        calibration: calibration of logits; the identity until it is fitted.
        validated_clips: logits and targets of the validation clips; None without validation clips or calibration.
        sounding_seconds: typical duration of the sound of each class in seconds, measured on the validation clips
            (:func:`audio_lightning.data.durations.typical_seconds`), ``[classes]``; NaN for a class without such clips.
            None if not known.
        thresholds: minimum probability at which each class is predicted, ``[classes]``; only if clips may have several
            labels.
        trained_on: fingerprints of the segments of the training clips
            (:func:`audio_lightning.data.store.fingerprints.segments`); None if unknown.
        initial_config: configuration of the training. Unlike ``config`` of a loaded classifier, it names the published
            weights from which the training started.
        data: description of all data of the training (:func:`audio_lightning.data.store.fingerprints.describe`).
        float32_layers: types of layers that the device cannot compute in the trainer's precision and that run in
            float32; None before :meth:`setup`.

    Raises:
        ConfigError: metrics that cannot be computed for this task.
    """

    thresholds: Tensor

    def __init__(self, config: dict[str, Any], task: AudioTask) -> None:
        super().__init__()
        self.config, self.initial_config, self.task = config, config, task
        self.objective = make_objective(task)
        self.calibration = Calibration(task.num_classes, multilabel=task.multilabel)
        self.validated_clips: ValidatedClips | None = None
        self.sounding_seconds: Float[Tensor, "classes"] | None = None
        if task.multilabel:
            self.register_buffer("thresholds", torch.full((task.num_classes,), 0.5))
        self.configured = ConfiguredMetrics(config.get("metrics"), task)
        self.test_metrics = make_metrics(task, self.configured)
        self.predictions = Predictions(task.num_classes)
        self.trained_on: Shaped[np.ndarray, "segments"] | None = None
        self.data: dict[str, Any] = {}
        self.float32_layers: list[str] | None = None

    @property
    def networks(self) -> Sequence[AudioModel]:
        """Networks, without their front ends."""
        raise NotImplementedError

    @property
    def embedding_dim(self) -> int:
        """Size of an embedding."""
        raise NotImplementedError

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """Compute the embedding of every clip."""
        raise NotImplementedError

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Compute calibrated probabilities, float32: softmax, or sigmoid for several labels."""
        return self.objective.activate(self.calibration(logits.float()))

    def activate_uncalibrated(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Compute probabilities without calibration."""
        return self.objective.activate(logits.float())

    def uncalibrated_thresholds(self) -> Float[Tensor, "classes"]:
        """Convert ``thresholds`` to those of probabilities without calibration, with the same decisions.

        Only for tasks with several labels, whose calibration is a positive scale and a bias for each class.
        """
        if not self.calibration.fitted:
            return self.thresholds
        return ((self.thresholds.logit() - self.calibration.bias) / self.calibration.scale).sigmoid()

    @torch.inference_mode()
    def logits(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Compute logits before calibration, float32, in evaluation mode."""
        return self.logits_and_energy(waveform)[0]

    @torch.inference_mode()
    def logits_and_energy(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Compute :meth:`logits`, and the energy of every clip, which is low for sounds unlike the training clips."""
        if self.training:
            self.eval()
        return self.outputs(waveform.to(self.device))

    def outputs(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Compute logits and energies in the current mode and on the current device."""
        logits = self(waveform).float()
        return logits, self.objective.energy(logits)

    def typicality(self, energy: Float[Tensor, "batch"]) -> Float[Tensor, "batch"] | None:
        """Return the fraction of the validation clips with a lower energy: near 0 for sounds unlike the training clips.

        Args:
            energy: energies of :meth:`logits_and_energy`.

        Returns:
            The fraction for each clip; None if the energies of the validation clips are not known.
        """
        known = None if self.validated_clips is None else self.validated_clips.energies
        if known is None or not len(known):
            return None
        return torch.searchsorted(known.sort().values, energy.cpu().contiguous()) / len(known)

    @torch.inference_mode()
    def probabilities(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Compute calibrated probabilities, float32, in evaluation mode."""
        return self.activate(self.logits(waveform))

    def decide(
        self, probabilities: Float[Tensor, "clips classes"], thresholds: Float[Tensor, "classes"] | None = None
    ) -> list[list[str]]:
        """Predict the labels of every clip: the most probable class, or all classes that reach their thresholds.

        Args:
            probabilities: probability of every class for every clip.
            thresholds: minimum probability of each class. None: the classifier's own if clips may have several labels,
                otherwise none. If a clip has one label, it is :data:`UNKNOWN` if the most probable class is below its
                threshold.
        """
        names = self.task.classes
        if thresholds is None and self.task.multilabel:
            thresholds = self.thresholds
        if thresholds is not None:
            reached = (probabilities >= thresholds.to(probabilities.device)).tolist()
        if self.task.multilabel:
            return [[name for name, yes in zip(names, clip) if yes] for clip in reached]
        best = probabilities.argmax(dim=1).tolist()
        if thresholds is None:
            return [[names[index]] for index in best]
        return [[names[index] if clip[index] else UNKNOWN] for index, clip in zip(best, reached)]

    def setup(self, stage: str) -> None:
        """Check that the data has the classifier's classes, and find layers that must run in float32 on this device.

        Raises:
            DataError: other classes or another order of them, or another sample rate.
            ConfigError: a network that cannot be computed in the trainer's precision.
        """
        if self.float32_layers is None:
            precision, found = str(self.trainer.precision), set[str]()
            for network in self.networks:
                network.to(self.trainer.strategy.root_device)
                found.update(use_float32_where_needed(network, precision))
            self.float32_layers = sorted(found)
            if self.trainer.is_global_zero:
                say_float32(self.float32_layers, precision)
        if self._datamodule is not None:
            check_task(self._datamodule.task, self.task)

    def on_test_epoch_start(self) -> None:
        """Reset the test metrics."""
        self._start(self.test_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the test metrics with a batch."""
        self._count(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``."""
        self._end("test", self.test_metrics)

    def last_predictions(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """Return indices, ascending, and probabilities of the clips of the last test or stand-alone validation."""
        number, logits = self.last_logits()
        return number, self.activate(logits)

    def last_logits(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """Return indices, ascending, and logits before calibration of the same clips."""
        number, logits, _ = self.predictions.compute()
        return number, logits

    def last_energies(self) -> Float[Tensor, "clips"]:
        """Return the energies of these clips, see :meth:`logits_and_energy`."""
        return self.predictions.compute()[2]

    def calibrate(self, targets: Tensor, method: Method) -> None:
        """Fit the calibration to the clips of the last validation, and keep their logits and targets.

        Args:
            targets: targets of the clips of :meth:`last_logits`, in the same order.
            method: see :data:`audio_lightning.classifier.calibration.Method`; ``none`` does nothing.
        """
        _, logits, energies = self.predictions.compute()
        if method == "none" or not len(logits) or not bool(logits.isfinite().all()):
            return
        self.calibration.put(*fit(logits, targets, method, multilabel=self.task.multilabel))
        self.validated_clips = ValidatedClips.of(logits, targets, energies)

    @property
    def _datamodule(self) -> AudioDataModule | None:
        """The trainer's datamodule, if it is one of this program."""
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        return datamodule if isinstance(datamodule, AudioDataModule) else None

    @property
    def _fitting(self) -> bool:
        return bool(self.trainer.state.fn == TrainerFn.FITTING)

    def _outputs(self, batch: Batch) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Compute logits and energies of a batch, in float32."""
        return self.outputs(batch["waveform"])

    def _start(self, metrics: EvaluationMetrics) -> None:
        metrics.reset()
        self.predictions.reset()
        if isinstance(metrics, MultilabelMetrics):
            metrics.thresholds = self.thresholds

    def _count(self, batch: Batch, metrics: EvaluationMetrics) -> None:
        """Update metrics with a batch; outside of a training, also keep its logits and energies.

        The last batch of an evaluation may be empty, see
        :class:`audio_lightning.data.loading.batches.EpochBatches`. The loss of an evaluation is the plain
        cross-entropy, so that runs with different training losses can be compared.
        """
        logits = batch["waveform"].new_zeros(0, self.task.num_classes)
        energies, target = logits.sum(dim=1), batch["target"]
        if len(batch["clip"]):
            logits, energies = self._outputs(batch)
        calibrated = self.calibration(logits)
        metrics.update(calibrated, target, self.objective.per_clip(calibrated, target))
        if not self._fitting:
            self.predictions.update(batch["clip"], logits, energies)

    def _end(self, part: str, metrics: EvaluationMetrics) -> None:
        metrics.gather()
        if not self._fitting:
            self.predictions.gather()
        self.log_dict({f"{part}/{name}": value for name, value in metrics.compute().items()})
