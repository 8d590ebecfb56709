"""Exportable front ends: transforms as convolutions, because other runtimes have no complex numbers.

A short-time Fourier transform is a convolution with windowed cosines and sines; a constant-Q transform is a convolution
with its kernels. In a classifier that is exported, they replace ``torch.stft`` and ``torch.fft``; training does not use
them. The matrices are computed in float64.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.features.cqt import CQT
from audio_lightning.features.fbank import ENERGY_FLOOR, PREEMPHASIS, FBank
from audio_lightning.features.stft import PowerSpectrogram


def make_exportable(module: nn.Module) -> None:
    """Replace submodules, in place, by equivalent exportable ones."""
    for inner in module.modules():
        kind = EXPORTABLE.get(type(inner))
        if kind is not None:
            inner.__class__ = kind  # same options and buffers, different computation
        if isinstance(inner, ConvolvedPower | ConvolvedFBank):
            # In the shape of weights: ExecuTorch has fast convolutions only for weights that are constants.
            kernels = inner.make_kernels().to(inner.window).unsqueeze(1)
            inner.register_buffer("kernels", kernels)


class ConvolvedPower(PowerSpectrogram):
    """:class:`PowerSpectrogram` as a convolution; created by :func:`make_exportable`."""

    kernels: Tensor

    def make_kernels(self) -> Float64[Tensor, "parts length"]:
        """Return windowed cosines of every frequency, then windowed sines."""
        return fourier_matrix(len(self.window), self.n_fft) * self.window.double()

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bins frames"]:
        """Compute the power of each frequency in each frame."""
        length, samples = len(self.window), waveform.shape[-1]
        if self.center:
            before = self.n_fft // 2 - (self.n_fft - length) // 2
            after = length - before
        else:
            hops = -(-max(0, samples - length) // self.hop_length)
            before, after = 0, length + hops * self.hop_length - samples
        return power_of(functional.pad(waveform, (before, after)), self.kernels, self.hop_length)


class ConvolvedFBank(FBank):
    """:class:`FBank` as a convolution, which includes the linear pre-emphasis and the removal of the frame's mean."""

    kernels: Tensor

    def make_kernels(self) -> Float64[Tensor, "parts length"]:
        """Return windowed cosines, then sines, of every frequency, after removal of the mean and pre-emphasis."""
        length = len(self.window)
        identity = torch.eye(length, dtype=torch.float64)
        before = torch.cat([identity[:1], identity[:-1]])
        emphasis = (identity - PREEMPHASIS * before) @ (identity - 1 / length)
        return (fourier_matrix(length, self.n_fft) * self.window.double()) @ emphasis

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """Compute log mel energies as one channel."""
        padded = functional.pad(waveform, (0, max(0, len(self.window) - waveform.shape[-1])))
        energies = self.weights @ power_of(padded, self.kernels, self.hop_length)
        picture = energies.clamp_min(ENERGY_FLOOR).log().unsqueeze(1)
        return functional.pad(picture, (0, max(0, self.min_frames - picture.shape[-1])))


class ConvolvedCQT(CQT):
    """:class:`CQT` as convolutions."""

    def _power(
        self, waveform: Float[Tensor, "batch time"], kernels: Float[Tensor, "parts length"]
    ) -> Float[Tensor, "batch bins frames"]:
        half = kernels.shape[-1] // 2
        return power_of(functional.pad(waveform, (half, half + 1)), kernels.unsqueeze(1), self.hop_length)


class ShapedLSTM(nn.LSTM):
    """An LSTM with three-dimensional states in a graph: torch 2.11 captures them with a fourth axis of size 1."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return outputs, and hidden and cell states of all layers, ``[layers * directions, batch, hidden]``."""
        outputs, states = nn.LSTM.forward(self, input, hx)
        rows = self.num_layers * (2 if self.bidirectional else 1)
        batch = input.shape[0 if self.batch_first else 1]
        return outputs, tuple(state.reshape(rows, batch, -1) for state in states)


EXPORTABLE: dict[type[nn.Module], type[nn.Module]] = {
    PowerSpectrogram: ConvolvedPower,
    FBank: ConvolvedFBank,
    CQT: ConvolvedCQT,
    nn.LSTM: ShapedLSTM,
}
"""Exportable replacement of each class."""


def power_of(
    padded: Float[Tensor, "batch time"], kernels: Float[Tensor, "parts 1 length"], hop_length: int
) -> Float[Tensor, "batch bins frames"]:
    """Sum the squared outputs of the first half (cosines) and the second half (sines) of the kernels."""
    cosine, sine = functional.conv1d(padded.unsqueeze(1), kernels, stride=hop_length).chunk(2, dim=1)
    return cosine.square() + sine.square()


def fourier_matrix(length: int, n_fft: int) -> Float64[Tensor, "parts length"]:
    """Return cosines, then sines, of the ``n_fft // 2 + 1`` frequencies of a transform, for ``length`` samples."""
    # The product modulo n_fft keeps the argument small, and therefore exact.
    turns = torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(length)) % n_fft
    angle = turns.double() * (2 * math.pi / n_fft)
    return torch.cat([angle.cos(), angle.sin()])
