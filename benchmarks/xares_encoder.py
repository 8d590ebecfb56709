"""Encoder for X-ARES (https://github.com/jimbozhang/xares), for comparison with published results.

    XARES_NETWORK=aisfx python -m xares.run benchmarks/xares_encoder.py src/tasks/*_task.py

XARES_NETWORK is a published network, as for ``feature.backbone``, whose last layer (or XARES_LAYER) is the encoding. Or
it is the folder of a run; then the encoding is the embedding of each window with the length of the run's clips.
"""

import os
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.classifier.base import Classifier
from audio_lightning.inference.load import load_classifier
from audio_lightning.models.pretrained.registry import chosen_layers, layers_of, make_backbone, required_rate
from audio_lightning.run_folder import RunFolder

SECONDS = 10
"""Seconds of sound for the measurement of the time between frames."""


class PublishedEncoder(nn.Module):
    """Encoder in the interface of X-ARES: waveforms [batch, samples] to encodings [batch, frames, values].

    Args:
        name: name of the network, or the folder of a run; None for XARES_NETWORK.
        layer: layer of a published network; None for XARES_LAYER, or the last one.
        pretrained: whether to load the published weights.

    Attributes:
        sampling_rate: sample rate in hertz.
        output_dim: number of values of a frame.
        hop_size_in_ms: time between frames in milliseconds.

    Raises:
        ConfigError: there is no such network, layer or run, or the weights are not available.
    """

    def __init__(self, name: str | None = None, layer: str | None = None, *, pretrained: bool = True) -> None:
        super().__init__()
        name = name or os.environ.get("XARES_NETWORK", "aisfx")
        layer = layer or os.environ.get("XARES_LAYER")
        self.classifier: Classifier | None = None
        if RunFolder(Path(name)).path.is_dir() and (Path(name) / "checkpoints").is_dir():
            self.classifier = load_classifier(Path(name))
            self.sampling_rate = self.classifier.task.sample_rate
            self.window = self.classifier.task.num_samples
        else:
            self.backbone = make_backbone(name, required_rate(name), pretrained=pretrained).eval()
            (self.layer,) = chosen_layers([layer] if layer else "last", self.backbone)
            self.sampling_rate = self.backbone.sample_rate
        with torch.no_grad():
            frames = self(torch.zeros(1, SECONDS * self.sampling_rate)).shape[1]
            self.output_dim = int(self(torch.zeros(1, self.sampling_rate)).shape[2])
        self.hop_size_in_ms = 1000 * SECONDS / frames

    @torch.no_grad()
    def forward(self, audio: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames values"]:
        """Encode waveforms from -1 to 1."""
        if self.classifier is None:
            return layers_of(self.backbone, audio)[0][self.layer].mT
        padded = functional.pad(audio, (0, -audio.shape[1] % self.window))
        windows = padded.unflatten(1, (-1, self.window))
        return self.classifier.embed(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
