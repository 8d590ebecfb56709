"""Callback that makes a training a member of a fused group."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core import clock
from audio_lightning.core.errors import UserError
from audio_lightning.core.messages import print_and_log
from audio_lightning.training.fusion.rounds import Alone, Backward, Forward, Round
from audio_lightning.training.fusion.turns import Member

DEVICES = ("cpu", "cuda")
"""Types of devices on which networks are fused: :class:`RandomState` saves the state of their random generators."""


class JointTraining(Callback):
    """Callback that computes the network of each training step together with the networks of the other members.

    On devices other than :data:`DEVICES`, it computes each network separately.

    Args:
        member: member whose thread runs the training.
        seconds: time limit in seconds, without the time in which the member waits for others; None: no limit.
    """

    def __init__(self, member: Member, *, seconds: float | None = None) -> None:
        self._member, self._seconds = member, seconds
        self._began = clock.perf_counter()
        self._round: Round | None = None
        self._features: Tensor | None = None
        self._told: set[str] = set()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the classifier compute its logits jointly."""
        assert isinstance(pl_module, AudioClassifier)
        classifier = pl_module

        def logits(features: Tensor) -> Tensor:
            return self._logits(classifier, features)

        classifier.joint_forward = logits if classifier.device.type in DEVICES else None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the classifier compute its logits separately again."""
        assert isinstance(pl_module, AudioClassifier)
        pl_module.joint_forward = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check for a signal and the time limit.

        Raises:
            Interrupted: the process got SIGINT or SIGTERM.
            UserError: the time limit is exceeded.
        """
        self._check()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """See :meth:`on_train_batch_start`."""
        self._check()

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """See :meth:`on_train_batch_start`."""
        self._check()

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Run the joint backward pass of the networks; the backward pass of this member's loss has just ended."""
        if self._round is None:
            return
        joint, features, self._round, self._features = self._round, self._features, None, None
        gradient = self._member.meet(Backward(joint))
        if gradient is not None and features is not None:
            features.backward(gradient)

    def _logits(self, classifier: AudioClassifier, features: Tensor) -> Tensor:
        reply = self._member.meet(Forward(classifier.network, features))
        if isinstance(reply, Alone):
            if reply.reason is not None and reply.reason not in self._told:
                self._told.add(reply.reason)
                print_and_log(
                    f"{classifier.network.title} cannot be fused for inputs {list(features.shape)} ({reply.reason}); "
                    "these steps are computed alone"
                )
            alone: Tensor = classifier.network(features)
            return alone
        self._round, self._features = reply, features
        return reply.logits(self._member)

    def _check(self) -> None:
        self._member.check_stop()
        if self._seconds is not None and clock.perf_counter() - self._began > self._seconds:
            raise UserError(f"ended after sweep.timeout={self._seconds:g} seconds")
