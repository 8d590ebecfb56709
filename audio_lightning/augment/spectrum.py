"""Filters in the frequency domain."""

from functools import cache

import torch
from jaxtyping import Float, Inexact
from torch import Tensor


def filter_spectrum(
    waveform: Float[Tensor, "batch time"], response: Inexact[Tensor, "batch bins"], n_fft: int
) -> Float[Tensor, "batch time"]:
    """Multiply the spectrum of each clip by a frequency response.

    Filter output beyond ``n_fft`` samples wraps around to the beginning.

    Args:
        waveform: clips of at most ``n_fft`` samples.
        response: frequency response at the ``n_fft // 2 + 1`` frequencies of ``torch.fft.rfft``.
        n_fft: length of the transform, see :func:`fast_length`.
    """
    return torch.fft.irfft(torch.fft.rfft(waveform, n_fft) * response, n_fft)[:, : waveform.shape[1]]


@cache
def fast_length(samples: int) -> int:
    """Smallest even length of at least ``samples`` with no prime factor above 5, for a fast Fourier transform."""
    candidates = (
        2 * 2**twos * 3**threes * 5**fives
        for threes in range(samples.bit_length())
        for fives in range(samples.bit_length())
        for twos in range(samples.bit_length() + 1)
    )
    return min(length for length in candidates if length >= samples)
