"""Positions of the clips in the decoded samples."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Int64

from audio_lightning.data.manifest import Manifest
from audio_lightning.data.store.decoded import DecodedAudio


@dataclass(frozen=True)
class Clips:
    """Segments of the decoded samples, without copying them.

    Attributes:
        row: row of the manifest of each clip.
        start: index of its first sample among all decoded samples.
        length: number of its samples, at most the length of a clip; for a ``background`` clip, number of samples of the
            segment from which it is drawn.
        offset: samples from the beginning of its recording to ``start``.
        background: whether the position and volume of the clip are drawn at random.
    """

    row: Int64[np.ndarray, "clips"]
    start: Int64[np.ndarray, "clips"]
    length: Int64[np.ndarray, "clips"]
    offset: Int64[np.ndarray, "clips"]
    background: Bool[np.ndarray, "clips"]

    def __len__(self) -> int:
        return len(self.row)

    def select(self, index: Int64[np.ndarray, "chosen"]) -> "Clips":
        """Select some of the clips."""
        return Clips(*(getattr(self, column.name)[index] for column in fields(self)))


def cut(
    manifest: Manifest,
    recording: Int64[np.ndarray, "rows"],
    audio: DecodedAudio,
    sample_rate: int,
    num_samples: int,
    hop_samples: int | None,
) -> Clips:
    """Cut every row into one clip, or into windows.

    Windows are as in :func:`audio_lightning.audio.windows`: one every ``hop_samples``, all full except
    the last one, which is left out if less than 5 % of it would be new.

    Args:
        manifest: rows, with the part of the recording for each.
        recording: index of each row's recording in ``audio``.
        audio: recordings decoded at ``sample_rate``.
        sample_rate: sample rate in hertz.
        num_samples: length of a clip in samples.
        hop_samples: hop from one window to the next in samples; None for one clip per row.
    """
    first, last = audio.starts[recording], audio.stops[recording]
    start = first + _samples(manifest.table["start_seconds"].to_numpy(), sample_rate)
    stop = first + _samples(manifest.table["stop_seconds"].fillna(np.inf).to_numpy(), sample_rate)
    stop = np.minimum(stop, last)
    start = np.minimum(start, stop)
    background = manifest.table["background"].to_numpy(dtype=bool)

    count = np.ones(len(manifest), dtype=np.int64)
    if hop_samples is not None:
        count = np.where(background, 1, window_count(stop - start, num_samples, hop_samples))
    row = np.repeat(np.arange(len(manifest)), count)
    number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    clip_start = start[row] + number * (hop_samples or 0)
    length = np.where(background[row], stop[row] - clip_start, np.minimum(stop[row] - clip_start, num_samples))
    return Clips(row, clip_start, length, clip_start - first[row], background[row])


def window_count(
    length: Int64[np.ndarray, "stretches"], num_samples: int, hop_samples: int
) -> Int64[np.ndarray, "stretches"]:
    """Number of windows in segments of the given lengths in samples, at least one each."""
    tail = max(1, num_samples // 20)
    full = np.maximum(0, (length - max(num_samples, hop_samples)) // hop_samples + 1)
    already_seen = max(0, num_samples - hop_samples)
    rest = length - full * hop_samples - already_seen
    return np.where(length < num_samples + tail, 1, full + (rest >= tail))


def _samples(seconds: np.ndarray, sample_rate: int) -> Int64[np.ndarray, "rows"]:
    longest = np.iinfo(np.int64).max // 4
    return np.rint(np.minimum(seconds * sample_rate, longest)).astype(np.int64)
