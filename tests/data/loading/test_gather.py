"""Batches equal clips gathered one by one."""

import numpy as np
import pytest
import torch

from audio_lightning.audio import fit_length
from audio_lightning.data.loading.gather import Gather, as_tensor
from audio_lightning.data.store.decoded import as_float

LENGTH = 10


@pytest.fixture(params=["float32", "int16"])
def samples(request: pytest.FixtureRequest) -> np.ndarray:
    values = np.random.default_rng(0).integers(-32768, 32768, 57)
    return values.astype(np.int16) if request.param == "int16" else (values / 32768).astype(np.float32)


@pytest.mark.parametrize("padding", ["zero", "repeat", "reflect"])
def test_batched_clips_equal_single_clips(samples: np.ndarray, padding: str) -> None:
    """Full clips, short ones of every length, and both at the very end of all samples."""
    starts = [0, 7, 47, 50, 52, 56, 3, 20, 30, *range(47, 57)]
    lengths = [10, 10, 10, 7, 5, 1, 1, 2, 9, *(57 - start for start in range(47, 57))]
    batch = Gather(as_tensor(samples), LENGTH, padding)(torch.tensor(starts), torch.tensor(lengths))
    assert batch.dtype == torch.float32
    for clip, start, length in zip(batch.numpy(), starts, lengths):
        expected = fit_length(as_float(samples[start : start + length]), LENGTH, padding)
        np.testing.assert_array_equal(clip, expected)


@pytest.mark.parametrize("padding", ["zero", "repeat", "reflect"])
def test_a_clip_without_samples_is_silence(samples: np.ndarray, padding: str) -> None:
    batch = Gather(as_tensor(samples), LENGTH, padding)(torch.tensor([4, 57]), torch.tensor([0, 0]))
    assert not batch.any()


def test_less_than_one_clip_in_all(samples: np.ndarray) -> None:
    batch = Gather(as_tensor(samples[:3]), LENGTH, "zero")(torch.tensor([0, 2]), torch.tensor([2, 1]))
    first, last = as_float(samples[:2]), as_float(samples[2:3])
    np.testing.assert_array_equal(batch, [[*first, *[0] * 8], [*last, *[0] * 9]])


def test_a_batch_is_a_copy() -> None:
    samples = np.ones(20, np.float32)
    Gather(as_tensor(samples), LENGTH, "zero")(torch.tensor([0]), torch.tensor([10])).zero_()
    assert samples.all()
