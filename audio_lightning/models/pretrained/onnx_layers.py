"""Inputs and outputs of ONNX networks on waveforms, examined by running them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.onnx_session import one_line

TRIAL_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)
"""Lengths of clips in seconds to try for networks that take any length; the first that works is the shortest."""

LONGER_SECONDS = 8
"""Additional length of a second clip in seconds: axes that grow with it are time."""

FEWEST_SAMPLES = 256
"""Minimum length of a waveform; a network with a shorter input takes spectra or other features."""

WINDOWS_AT_ONCE = 8

FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")

_REMEDY = (
    "export the network with its front end, from float32 samples [batch, samples], [batch, 1, samples] or [samples]"
)


@dataclass(frozen=True)
class Layer:
    """Output of a network.

    Attributes:
        width: number of channels of a frame.
        frames: number of frames of a window, or of the shortest clip.
        hop: samples between two frames, if clips may have any length; None if the number of frames is constant.
        transposed: whether time is the last axis.
    """

    width: int
    frames: int
    hop: float | None = None
    transposed: bool = False


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a network.

    Attributes:
        input: name of the only input.
        rank: number of dimensions of the input, 1 to 3.
        samples: length of a window, if it is fixed; None if clips may have any length.
        batch: number of windows per run.
        fills_batch: whether ``batch`` is fixed by the network.
        shortest: minimum length of a clip in samples.
        layers: floating-point outputs by name; embeddings come last.
    """

    input: str
    rank: int
    samples: int | None
    batch: int
    fills_batch: bool
    shortest: int
    layers: Mapping[str, Layer]

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain containers, numbers and strings; the inverse of :meth:`from_plain`."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Signature":
        """Restore the result of :meth:`to_plain`.

        Raises:
            ConfigError: the containers are not such a result.
        """
        try:
            layers = {str(name): Layer(**layer) for name, layer in plain["layers"].items()}
            return cls(**{**plain, "layers": layers})
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(
                f"the description of the ONNX network in this checkpoint is damaged: {error}; use another checkpoint"
            ) from error

    def frames(self, layer: Layer, samples: int) -> int:
        """Number of frames of a layer for a clip; approximate if the frames are not spaced evenly."""
        if self.samples is not None:
            return layer.frames * -(-samples // self.samples)
        return layer.frames + (int(max(0, samples - self.shortest) / layer.hop) if layer.hop else 0)


Arrays = dict[str, np.ndarray]


def run(session: Any, found: Signature, clip: Float32[np.ndarray, "time"]) -> Arrays:
    """Compute the layers of a clip, [frames, channels]; zeros are appended to fill the last window."""
    size = found.samples or max(found.shortest, len(clip))
    padded = np.pad(clip, (0, -len(clip) % size))
    windows = padded.reshape(-1, size)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in found.layers}
    for start in range(0, len(windows), found.batch):
        some = windows[start : start + found.batch]
        for name, value in _run(session, found, some).items():
            layer = found.layers[name]
            turned = value.swapaxes(-1, -2) if layer.transposed else value
            frames = turned.reshape(-1, layer.width)
            parts[name].append(frames[: len(some) * layer.frames] if found.samples else frames)
    return {name: np.concatenate(some).astype(np.float32) for name, some in parts.items()}


def examine(session: Any, name: str, rate: int) -> Signature:
    """Determine the signature of a network by running it on noise.

    Args:
        session: session of the network.
        name: name of the file, for messages.
        rate: rate of the clips in hertz.

    Raises:
        ConfigError: the network does not take a waveform, or has no output that could be a layer.
    """
    found = _input(session, name)
    outputs = [out.name for out in session.get_outputs() if out.type in FLOATS]
    outputs.sort(key=lambda output: "embed" in output.lower())  # embeddings last, because layers=last selects them
    layers: dict[str, Layer]
    if found.samples is None:
        found, layers = _of_any_length(session, found, outputs, name, rate)
    else:
        found, layers = _of_windows(session, found, outputs, name)
    if not layers:
        given = ", ".join(f"{out.name} {out.type} {_sizes(out.shape)}" for out in session.get_outputs())
        raise ConfigError(f"{name} gives {given}; export it with a floating-point output of one to three axes")
    return replace(found, layers=layers)


def _input(session: Any, name: str) -> Signature:
    """Read the input from the file; the layers are still empty."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ConfigError(f"{name} takes {len(inputs)} inputs ({names}), expected a waveform alone; {_REMEDY}")
    value = inputs[0]
    shape = [size if isinstance(size, int) and size > 0 else None for size in value.shape or ()]
    described = f"{name} takes {value.name} {value.type} {_sizes(shape)}"
    if value.type != "tensor(float)":
        raise ConfigError(f"{described}, expected float32 samples from -1 to 1; {_REMEDY}")
    if not 1 <= len(shape) <= 3 or (len(shape) == 3 and shape[1] not in (1, None)):
        raise ConfigError(f"{described}, a spectrogram or other features, expected a waveform; {_REMEDY}")
    samples, batch = shape[-1], (shape[0] if len(shape) > 1 else 1)
    if samples is not None and samples < FEWEST_SAMPLES:
        raise ConfigError(f"{described}, too few for a waveform, expected {FEWEST_SAMPLES} samples or more; {_REMEDY}")
    if samples is None and batch not in (1, None):
        raise ConfigError(f"{described}, {batch} clips of any length at once, expected one; {_REMEDY}")
    return Signature(value.name, len(shape), samples, batch or 1, batch is not None, samples or 1, {})


def _of_windows(session: Any, found: Signature, outputs: list[str], name: str) -> tuple[Signature, dict[str, Layer]]:
    """Find the layers of a network with a fixed input length; batch the windows if that changes no output."""
    assert found.samples is not None, "windows have a length"
    two = _noise(2 * found.samples).reshape(2, -1)
    try:
        first = _run(session, found, two[:1], outputs)
    except Exception as error:  # the runtime's exceptions have no other common base class
        raise ConfigError(
            f"{name} fails on {found.samples} samples of noise: {one_line(error)}; correct the network"
        ) from error
    layers = {}
    for output, value in first.items():
        if 1 <= value.ndim <= 3 and value.size and len(value) % found.batch == 0:
            width = value.shape[-1] if value.ndim > 1 else len(value) // found.batch
            layers[output] = Layer(width, value.size // width // found.batch)
    if not found.fills_batch and _are_independent(session, found, two, {output: first[output] for output in layers}):
        found = replace(found, batch=WINDOWS_AT_ONCE)
    return found, layers


def _are_independent(session: Any, found: Signature, two: Float32[np.ndarray, "2 time"], first: Arrays) -> bool:
    """Whether a batch of two windows gives the outputs of the first window, followed by as many for the second."""
    try:
        both = _run(session, replace(found, batch=2), two, list(first))
    except Exception:  # a network may declare any batch size and still be limited to one
        return False
    return all(
        len(both[output]) == 2 * len(value)
        and np.allclose(both[output][: len(value)], value, rtol=1e-3, atol=1e-3 * float(np.abs(value).max()))
        for output, value in first.items()
    )


def _of_any_length(
    session: Any, found: Signature, outputs: list[str], name: str, rate: int
) -> tuple[Signature, dict[str, Layer]]:
    """Find the layers of a network for any length, from the outputs for a clip and for a longer one."""
    failure = ""
    for seconds in TRIAL_SECONDS:
        shorter = round(seconds * rate)
        longer = shorter + LONGER_SECONDS * rate
        try:
            before, after = (_run(session, found, _noise(size)[None], outputs) for size in (shorter, longer))
        except Exception as error:  # the runtime's exceptions have no other common base class
            failure = one_line(error)
            continue
        if all(value.size for value in before.values()):
            layers = {output: _growing(before[output], after[output], longer - shorter) for output in outputs}
            known = {output: layer for output, layer in layers.items() if layer is not None}
            return replace(found, shortest=shorter), known
        failure = "its outputs are empty"
    raise ConfigError(f"{name} fails on {TRIAL_SECONDS[-1]} seconds of noise: {failure}; correct the network")


def _growing(before: np.ndarray, after: np.ndarray, samples: int) -> Layer | None:
    """Derive the layer from an output for a clip and for a longer one; None if it cannot be a layer."""
    if not 1 <= before.ndim <= 3 or before.ndim != after.ndim:
        return None
    grown = [axis for axis in range(before.ndim) if before.shape[axis] != after.shape[axis]]
    if len(grown) > 1:
        return None
    last = grown == [before.ndim - 1]
    width = before.shape[-1] if not last else before.shape[-2] if before.ndim > 1 else 1
    frames = before.size // width
    more = after.size // width - frames
    return Layer(width, frames, samples / more if more > 0 else None, last and before.ndim > 1)


def _run(session: Any, found: Signature, windows: np.ndarray, outputs: list[str] | None = None) -> Arrays:
    """Run the network, with windows of silence appended if it needs a full batch; return its outputs by name."""
    names = list(found.layers) if outputs is None else outputs
    if found.fills_batch:
        windows = np.pad(windows, ((0, found.batch - len(windows)), (0, 0)))
    shape = {1: (-1,), 2: windows.shape, 3: (len(windows), 1, -1)}[found.rank]
    given = np.ascontiguousarray(windows, dtype=np.float32).reshape(shape)
    return dict(zip(names, session.run(names, {found.input: given})))


def _noise(samples: int) -> Float32[np.ndarray, "time"]:
    return (0.1 * np.random.RandomState(0).randn(samples)).astype(np.float32)


def _sizes(shape: Any) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape or ())}]"
