"""User-supplied networks as ONNX files."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained import onnx_runtime
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.onnx_layers import Signature, examine, run

NAME = "onnx"
"""Name of such networks in messages."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalFile:
    """File that the user names.

    Attributes:
        place: path of the file; None if it is not known.
    """

    place: str | None

    @property
    def remedy(self) -> str:
        """Instruction that makes the file available."""
        return "give the path of an ONNX file"

    @property
    def is_here(self) -> bool:
        """Whether the file is on this machine; its content is not checked."""
        return self.place is not None and Path(self.place).expanduser().is_file()

    def path(self) -> Path:
        """Return the path of the file.

        Raises:
            ConfigError: there is no such file.
        """
        if self.place is None:
            raise ConfigError(f"backbone={NAME} has no weights of its own; {self.remedy}")
        if not self.is_here:
            raise ConfigError(f"{self.place}: no such file; {self.remedy}")
        return Path(self.place).expanduser()


class OnnxFile(Backbone):
    """Network in an ONNX file that takes waveforms from -1 to 1; its outputs are the layers. It is not trained.

    It is computed on the CPU. It must have one input, float32 of shape [batch, samples], [batch, 1, samples] or
    [samples]. If the number of samples is fixed, a clip is cut into windows of this length, the last one padded with
    zeros, and their outputs are concatenated. Layers are the floating-point outputs with one to three axes. The network
    is run once to examine them: the last axis holds the channels, unless it is the one that grows with the clip.
    Outputs with "embed" in their names come last. The sample rate is read from the metadata entry ``sample_rate``; ONNX
    itself does not define one, and without the entry it is the rate of the clips. Checkpoints contain the file.

    Args:
        sample_rate: rate of the waveforms in hertz.
        path: path of the file; None if ``architecture`` is given.
        architecture: :attr:`architecture` of an earlier instance for the same file.

    Raises:
        ConfigError: ONNX Runtime is not installed; or the file cannot be read, is not an ONNX file, or has other inputs
            or outputs.
    """

    title = "an ONNX file"
    trained_rate = 16_000  # usual for speech networks; used if neither the file nor the clips define one
    least_seconds = 0.0
    num_parameters = 0
    layers: Mapping[str, int] = MappingProxyType({})
    licence = "that of the file"
    citation = ""
    trainable: ClassVar[bool] = False

    file: LocalFile
    model: UInt8[Tensor, "bytes"]

    def __init__(
        self, sample_rate: int, path: str | None = None, architecture: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(sample_rate)
        self.file = LocalFile(path)
        known = _describe(self.file.path(), sample_rate) if architecture is None else dict(architecture)
        self.architecture = known
        try:
            self.title, self._sha256, rate = str(known["name"]), str(known["sha256"]), known["rate"]
            self.num_parameters = int(known["bytes"]) // 4
            self.signature = Signature.from_plain(known["signature"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the description of an ONNX file is damaged: {error!r:.200}; use another checkpoint"
            ) from error
        if rate is None:
            _say_rate(self.title, sample_rate)
        self.trained_rate, self.any_rate = rate or sample_rate, rate is None
        self.least_seconds = (self.signature.shortest - 0.5) / self.trained_rate  # safe against rounding up
        self.layers = {name: layer.width for name, layer in self.signature.layers.items()}
        self.register_buffer("model", torch.empty(0, dtype=torch.uint8))

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs over time; on the meta device, with approximately the right number of frames."""
        if waveform.is_meta:
            sizes = {name: self.signature.frames(x, waveform.shape[-1]) for name, x in self.signature.layers.items()}
            return {
                name: waveform.new_empty(len(waveform), self.layers[name], frames) for name, frames in sizes.items()
            }
        session = self._session()
        clips = [run(session, self.signature, clip) for clip in waveform.detach().float().cpu().numpy()]
        stacked = {name: torch.stack([torch.from_numpy(clip[name].T.copy()) for clip in clips]) for name in self.layers}
        return {name: value.to(waveform.device) for name, value in stacked.items()}

    def load(self) -> None:
        """Load the file; see :meth:`Backbone.load`."""
        onnx_runtime.runtime(NAME)
        path = self.file.path()
        content = _read(path)
        if (found := hashlib.sha256(content).hexdigest()) != self._sha256:
            raise ConfigError(f"{path} has changed: its sha256 is {found}, expected {self._sha256}; restore the file")
        if not self.model.is_meta:  # on the meta device everything is checked but nothing is loaded
            self.model = onnx_runtime.buffer_of(content).to(self.model.device)

    def _session(self) -> Any:
        if not self.model.numel():
            raise ConfigError(f"backbone={NAME} has no random weights; {self.file.remedy}")
        if onnx_runtime.fingerprint(self.model) != self._sha256:
            raise ConfigError(
                f"{self.title} in this checkpoint is not the file that the checkpoint describes; use another checkpoint"
            )
        return onnx_runtime.session(self.model, NAME, self.title)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if (stored := state_dict.get(f"{prefix}model")) is not None:
            self.model = torch.empty_like(stored, device=self.model.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _describe(path: Path, sample_rate: int) -> dict[str, Any]:
    """Describe a file by plain values, from which the module can be built without the file."""
    content = _read(path)
    session = _opened(content, path.name)
    rate = _rate(session)
    return {
        "name": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "rate": rate,
        "signature": examine(session, path.name, rate or sample_rate).to_plain(),
    }


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    if not content:
        raise ConfigError(f"{path} is empty; give an ONNX file")
    return content


def stated_rate(path: str) -> int | None:
    """Return the sample rate in hertz in the metadata of an ONNX file; None if there is none.

    Raises:
        ConfigError: the file does not exist, or is not an ONNX file.
    """
    place = LocalFile(path).path()
    return _rate(_opened(_read(place), place.name))


def _opened(content: bytes, title: str) -> Any:
    with torch.device("cpu"):  # the file is examined even when modules are built on the meta device
        return onnx_runtime.session(onnx_runtime.buffer_of(content), NAME, title)


def _rate(session: Any) -> int | None:
    """Read the sample rate in hertz from the metadata; None if it is missing or not a positive number."""
    try:
        rate = round(float(session.get_modelmeta().custom_metadata_map.get("sample_rate") or ""))
    except (OverflowError, ValueError):
        return None
    return rate if rate > 0 else None


@cache
def _say_rate(name: str, sample_rate: int) -> None:
    log.warning(
        "%s: the file does not define the sample rate of its training data, using the rate of the clips, %d Hz; "
        "add a metadata entry sample_rate to the file if it differs",
        name,
        sample_rate,
    )
