"""The part of a classifier that predicts: front end and network."""

from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.factory import build_front_end, build_network
from audio_lightning.core.task import AudioTask
from audio_lightning.losses.objective import make_objective


class ClassifierNetwork(pl.LightningModule):
    """Front end and network of a configuration: waveforms in; logits, probabilities, labels and embeddings out.

    Args:
        config: the composed configuration as plain Python.
        task: what the data asks for.

    Attributes:
        config: the configuration, with the options that the network read from published weights.
        thresholds: probability of every class, ``[classes]``, from which on it is predicted; only where clips may
            have several labels.

    Raises:
        ConfigError: a target, an argument or a combination of feature and model that cannot work.
    """

    thresholds: Tensor

    def __init__(self, config: dict[str, Any], task: AudioTask) -> None:
        super().__init__()
        self.task = task
        self.front_end = build_front_end(config, task)
        self.network = build_network(config, self.front_end.output_shape, task)
        # A checkpoint is loaded without published weights, so it has to say what they are the weights of.
        self.config = {**config, "model": {**config["model"], **self.network.inferred_options}}
        # The networks that learn, and the changed copies of a batch that they learn from.
        self.members, self.copies = 1, 1
        if isinstance(self.network, Ensemble):
            self.members, self.copies = len(self.network.members), self.network.copies
        planes = config["channels_last"] and self.network.input_kind == "spectrogram"
        self.memory_format = torch.channels_last if planes else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.objective = make_objective(task)
        self.compiled = False

    def compile_network(self) -> None:
        """Have the network compiled when it is first called; in place, so that a checkpoint has the same names."""
        self.network.compile()
        self.compiled = True

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Logits of every class."""
        return self._classified(self.front_end(waveform))

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """The input of the network's head."""
        return self.network.embed(self.arranged(self.front_end(waveform)))

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Probabilities, float32: of a softmax, or a sigmoid for each class where clips may have several labels."""
        return self.objective.activate(logits.float())

    @torch.inference_mode()
    def probabilities(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Probability of every class, float32, in evaluation mode."""
        if self.training:
            self.eval()
        return self.activate(self(waveform.to(self.device)))

    def decide(self, probabilities: Float[Tensor, "clips classes"]) -> list[list[str]]:
        """The labels predicted for every clip: the most probable class, or each one that reaches its threshold."""
        names = self.task.classes
        if not self.task.multilabel:
            return [[names[index]] for index in probabilities.argmax(dim=1).tolist()]
        reached = probabilities >= self.thresholds.to(probabilities.device)
        return [[name for name, yes in zip(names, clip) if yes] for clip in reached.tolist()]

    def arranged(self, features: Tensor) -> Tensor:
        """Features in one memory format in training and in prediction: the two differ in the last bits."""
        return features.contiguous(memory_format=self.memory_format) if features.dim() == 4 else features

    def _classified(self, features: Tensor) -> Float[Tensor, "batch classes"]:
        """Logits; a compiled network is one program for batches of all sizes."""
        features = self.arranged(features)
        if self.compiled:
            torch._dynamo.maybe_mark_dynamic(features, 0)
        return self.network(features)
