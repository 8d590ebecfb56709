"""The interface of trained classifiers, and their test."""

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
    """Waveforms in; logits, probabilities, labels and embeddings out; and the metrics of a test.

    Prediction, embedding and evaluation use nothing else of a classifier. Subclasses have ``forward``, ``embed``,
    ``networks`` and ``embedding_dim``.

    Args:
        config: the composed configuration as plain Python.
        task: what the data asks for.

    Attributes:
        calibration: from logits to calibrated ones; the identity until it is fitted.
        validated_clips: logits and targets of the validation clips; None without them, or without calibration.
        thresholds: probability of every class, ``[classes]``, from which on it is predicted; only where clips may
            have several labels.
        trained_on: fingerprints of the segments of the training clips
            (:func:`audio_lightning.data.store.fingerprints.segments`); None where unknown.
        data: description of all data of the training (:func:`audio_lightning.data.store.fingerprints.describe`).
        float32_layers: types of layers that the device cannot compute in the trainer's precision and that run in
            float32; None before they are looked for.

    Raises:
        ConfigError: metrics that cannot be computed for this task.
    """

    thresholds: Tensor

    def __init__(self, config: dict[str, Any], task: AudioTask) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.objective = make_objective(task)
        self.calibration = Calibration(task.num_classes, multilabel=task.multilabel)
        self.validated_clips: ValidatedClips | None = None
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
        """The networks, without their front ends."""
        raise NotImplementedError

    @property
    def embedding_dim(self) -> int:
        """Size of an embedding."""
        raise NotImplementedError

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """The embedding of every clip."""
        raise NotImplementedError

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Calibrated probabilities, float32: of a softmax, or a sigmoid for each class of several labels."""
        return self.objective.activate(self.calibration(logits.float()))

    def activate_uncalibrated(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Probabilities without the calibration, as the network was trained to give them."""
        return self.objective.activate(logits.float())

    @torch.inference_mode()
    def logits(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Logits of every class before calibration, float32, in evaluation mode."""
        return self.logits_and_energy(waveform)[0]

    @torch.inference_mode()
    def logits_and_energy(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """:meth:`logits`, and the energy of every clip, which is low for sounds unlike those trained on."""
        if self.training:
            self.eval()
        return self.outputs(waveform.to(self.device))

    def outputs(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """The same, in the present mode and on the present device."""
        logits = self(waveform).float()
        return logits, self.objective.energy(logits)

    def typicality(self, energy: Float[Tensor, "batch"]) -> Float[Tensor, "batch"] | None:
        """Share of the validation clips whose energy is lower: near 0 for sounds unlike those trained on.

        Args:
            energy: of :meth:`logits_and_energy`.

        Returns:
            None where the energies of the validation clips are not known.
        """
        known = None if self.validated_clips is None else self.validated_clips.energies
        if known is None or not len(known):
            return None
        return torch.searchsorted(known.sort().values, energy.cpu().contiguous()) / len(known)

    @torch.inference_mode()
    def probabilities(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Calibrated probability of every class, float32, in evaluation mode."""
        return self.activate(self.logits(waveform))

    def decide(
        self, probabilities: Float[Tensor, "clips classes"], thresholds: Float[Tensor, "classes"] | None = None
    ) -> list[list[str]]:
        """The labels predicted for every clip: the most probable class, or each one that reaches its threshold.

        Args:
            probabilities: of every clip and class.
            thresholds: least probability of each class. None: those of the classifier where clips may have several
                labels, else none. Where a clip has one label, that of a clip whose most probable class stays below its
                threshold is :data:`UNKNOWN`.
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
        """Refuse data whose targets mean other classes, and find layers that run in float32 on this device.

        Raises:
            DataError: other names, or in another order; or another sample rate.
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
        """Forget the last evaluation."""
        self._start(self.test_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch."""
        self._count(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``."""
        self._end("test", self.test_metrics)

    def last_predictions(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """Numbers of the clips, ascending, and their probabilities, of the last test or validation of its own."""
        number, logits = self.last_logits()
        return number, self.activate(logits)

    def last_logits(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """The same, with logits before calibration."""
        number, logits, _ = self.predictions.compute()
        return number, logits

    def last_energies(self) -> Float[Tensor, "clips"]:
        """Energies of these clips, see :meth:`logits_and_energy`."""
        return self.predictions.compute()[2]

    def calibrate(self, targets: Tensor, method: Method) -> None:
        """Fit the calibration to the clips of the last validation, and keep their logits and targets.

        Args:
            targets: of the clips of :meth:`last_logits`, in their order.
            method: see :data:`audio_lightning.classifier.calibration.Method`; ``none`` does nothing.
        """
        _, logits, energies = self.predictions.compute()
        if method == "none" or not len(logits) or not bool(logits.isfinite().all()):
            return
        self.calibration.put(*fit(logits, targets, method, multilabel=self.task.multilabel))
        self.validated_clips = ValidatedClips.of(logits, targets, energies)

    @property
    def _datamodule(self) -> AudioDataModule | None:
        """The data that the trainer has, where it is of this program."""
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        return datamodule if isinstance(datamodule, AudioDataModule) else None

    @property
    def _fitting(self) -> bool:
        return bool(self.trainer.state.fn == TrainerFn.FITTING)

    def _outputs(self, batch: Batch) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Logits and energies of a batch, in float32."""
        return self.outputs(batch["waveform"])

    def _start(self, metrics: EvaluationMetrics) -> None:
        metrics.reset()
        self.predictions.reset()
        if isinstance(metrics, MultilabelMetrics):
            metrics.thresholds = self.thresholds

    def _count(self, batch: Batch, metrics: EvaluationMetrics) -> None:
        """Count a batch, and keep its logits and energies outside of a training.

        The last batch of an evaluation may be empty, see
        :class:`audio_lightning.data.loading.batches.EpochBatches`. The loss of an evaluation is the plain
        cross-entropy, so that runs with other losses compare.
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
