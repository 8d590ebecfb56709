"""The part of a classifier that predicts: front end and network."""

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
    """Front end and network of a configuration: waveforms in; logits, probabilities, labels and embeddings out.

    Args:
        config: the composed configuration as plain Python.
        task: what the data asks for.

    Attributes:
        config: the configuration, with the options that front end and network read from published weights.

    Raises:
        ConfigError: a target, an argument or a combination of feature and model that cannot work.
    """

    def __init__(self, config: dict[str, Any], task: AudioTask) -> None:
        super().__init__(config, task)
        self.front_end = build_front_end(config, task)
        self.network = build_network(config, self.front_end.output_shape, task)
        # A checkpoint is loaded without published weights, so it has to say what they are the weights of.
        heard = {**config["feature"], **self.front_end.inferred_options}
        inferred = {**own_options(config["model"]), **self.network.inferred_options}
        self.config = {**config, "feature": heard, "model": {**config["model"], **inferred}}
        # The networks that learn, and the changed copies of a batch that they learn from.
        self.members, self.copies = 1, 1
        if isinstance(self.network, Ensemble):
            self.members, self.copies = len(self.network.members), self.network.copies
        planes = config["channels_last"] and self.network.input_kind == "spectrogram"
        self.memory_format = torch.channels_last if planes else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.compiled = False

    @property
    def networks(self) -> Sequence[AudioModel]:
        """The one network."""
        return [self.network]

    @property
    def embedding_dim(self) -> int:
        """Size of the input of the network's head."""
        return self.network.embedding_dim

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

    def arranged(self, features: Tensor) -> Tensor:
        """Features in one memory format in training and in prediction: the two differ in the last bits."""
        return features.contiguous(memory_format=self.memory_format) if features.dim() == 4 else features

    def _classified(self, features: Tensor) -> Float[Tensor, "batch classes"]:
        """Logits; a compiled network is one program for batches of all sizes."""
        features = self.arranged(features)
        if self.compiled:
            torch._dynamo.maybe_mark_dynamic(features, 0)
        return self.network(features)
