"""Front end and network of a classifier, for prediction."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.factory import build_front_end, build_network
from audio_lightning.classifier.warm_start import own_options
from audio_lightning.core.task import AudioTask
from audio_lightning.models.base import AudioModel


class ClassifierNetwork(Classifier):
    """Front end and network of a configuration: from waveforms to logits, probabilities, labels and embeddings.

    Args:
        config: the composed configuration as plain Python.
        task: the classification task.

    Attributes:
        config: the configuration, including the options that front end and network derived from published weights.

    Raises:
        ConfigError: an invalid target or argument, or a feature and a model that do not fit together.
    """

    def __init__(self, config: dict[str, Any], task: AudioTask) -> None:
        super().__init__(config, task)
        self.front_end = build_front_end(config, task)
        self.network = build_network(config, self.front_end.output_shape, task)
        # Checkpoints are loaded without published weights, so the configuration must contain the derived options.
        feature = {**config["feature"], **self.front_end.inferred_options}
        inferred = {**own_options(config["model"]), **self.network.inferred_options}
        self.config = {**config, "feature": feature, "model": {**config["model"], **inferred}}
        # Number of networks that are trained, and of parts of a batch that they are trained on.
        self.members, self.copies = 1, 1
        if isinstance(self.network, Ensemble):
            self.members, self.copies = len(self.network.members), self.network.copies
        planes = config["channels_last"] and self.network.input_kind == "spectrogram"
        self.memory_format = torch.channels_last if planes else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.compiled = False

    @property
    def networks(self) -> Sequence[AudioModel]:
        """The network, in a list."""
        return [self.network]

    @property
    def embedding_dim(self) -> int:
        """Size of the input of the network's head."""
        return self.network.embedding_dim

    def compile_network(self) -> None:
        """Compile the network at its first call; in place, so that names in checkpoints stay the same."""
        self.network.compile()
        self.compiled = True

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Compute the logits."""
        return self._classified(self.front_end(waveform))

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """Compute the input of the network's head."""
        return self.network.embed(self.arranged(self.front_end(waveform)))

    def arranged(self, features: Tensor) -> Tensor:
        """Use one memory format in training and prediction, because results differ in the last bits otherwise."""
        return features.contiguous(memory_format=self.memory_format) if features.dim() == 4 else features

    def _classified(self, features: Tensor) -> Float[Tensor, "batch classes"]:
        """Compute the logits; a compiled network is one program for all batch sizes."""
        features = self.arranged(features)
        if self.compiled:
            torch._dynamo.maybe_mark_dynamic(features, 0)
        return self.network(features)
