"""A network of one's own, or of anybody, that is a file of ONNX."""

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
"""What ``feature.backbone`` calls it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalFile:
    """A file that somebody names.

    Attributes:
        place: its path; None where nobody has named one.
    """

    place: str | None

    @property
    def remedy(self) -> str:
        """What puts it on this machine."""
        return "give the path of a file of ONNX"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, whatever is in it."""
        return self.place is not None and Path(self.place).expanduser().is_file()

    def path(self) -> Path:
        """Where it is.

        Raises:
            ConfigError: it is not there.
        """
        if self.place is None:
            raise ConfigError(f"backbone={NAME} has no weights of its own: {self.remedy}")
        if not self.is_here:
            raise ConfigError(f"{self.place} is not there, or no file: {self.remedy}")
        return Path(self.place).expanduser()


class OnnxFile(Backbone):
    """A file of ONNX that takes a waveform, from -1 to 1; its outputs are the layers, and it is not trained.

    It is computed on the CPU. Its one input is float32, [batch, samples], [batch, 1, samples] or [samples]. Where it
    takes a certain number of samples, a clip is cut into windows of them, zeros behind the last one, and what comes of
    them is laid one behind the other. Layers are its float outputs with one to three axes, as they are found by trying:
    the last axis has the channels, unless it is the one that grows with a clip. Outputs whose names have "embed" in
    them come last. Its rate is what its metadata say under ``sample_rate``; ONNX itself has no place for it, and
    without that it is the rate of the clips. A checkpoint has the file in it.

    Args:
        sample_rate: in hertz, of the waveforms.
        path: of the file; None where ``architecture`` is known.
        architecture: what another one has found out of the file, as its attribute of this name has it.

    Raises:
        ConfigError: the file is none of ONNX, or takes or gives something else, or waveforms of another rate.
    """

    title = "a file of ONNX"
    trained_rate = 16_000  # of networks of speech, where neither the file nor the clips say another
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
            raise ConfigError(f"the description of a file of ONNX is damaged: {error!r}"[:300]) from error
        if rate is None:
            _say_rate(self.title, sample_rate)
        self.trained_rate, self.any_rate = rate or sample_rate, rate is None
        self.least_seconds = (self.signature.shortest - 0.5) / self.trained_rate  # however rounded, no window more
        self.layers = {name: layer.width for name, layer in self.signature.layers.items()}
        self.register_buffer("model", torch.empty(0, dtype=torch.uint8))

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """What each output makes of the clips, in the order of their time; on the meta device, about as many frames."""
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
        """Take the file; see :meth:`Backbone.load`."""
        onnx_runtime.runtime(NAME)
        path = self.file.path()
        content = _read(path)
        if (found := hashlib.sha256(content).hexdigest()) != self._sha256:
            raise ConfigError(f"{path} has changed: its sha256 is {found}, expected {self._sha256}")
        if not self.model.is_meta:  # where everything is checked, and large tensors are refused
            self.model = onnx_runtime.buffer_of(content).to(self.model.device)

    def _session(self) -> Any:
        if not self.model.numel():
            raise ConfigError(f"backbone={NAME} has no weights at random: {self.file.remedy}")
        if onnx_runtime.fingerprint(self.model) != self._sha256:
            raise ConfigError(f"{self.title} in this checkpoint is not the file that the checkpoint describes")
        return onnx_runtime.session(self.model, NAME, self.title)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if (stored := state_dict.get(f"{prefix}model")) is not None:
            self.model = torch.empty_like(stored, device=self.model.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _describe(path: Path, sample_rate: int) -> dict[str, Any]:
    """The architecture of a file: plain values, from which the module is built where the file is not."""
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
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    if not content:
        raise ConfigError(f"{path} is empty, expected a file of ONNX")
    return content


def stated_rate(path: str) -> int | None:
    """The sample rate in hertz that a file of ONNX says it takes; None where it says none.

    Raises:
        ConfigError: it is not there, or none of ONNX.
    """
    place = LocalFile(path).path()
    return _rate(_opened(_read(place), place.name))


def _opened(content: bytes, title: str) -> Any:
    with torch.device("cpu"):  # the file is looked into even where modules are built on meta
        return onnx_runtime.session(onnx_runtime.buffer_of(content), NAME, title)


def _rate(session: Any) -> int | None:
    """Hertz as the metadata have them; None where they are no number of them."""
    try:
        rate = round(float(session.get_modelmeta().custom_metadata_map.get("sample_rate") or ""))
    except (OverflowError, ValueError):
        return None
    return rate if rate > 0 else None


@cache
def _say_rate(name: str, sample_rate: int) -> None:
    log.warning(
        "%s does not say which sample rate it was trained on: it gets that of the clips, %d Hz (metadata of the file: "
        "sample_rate)",
        name,
        sample_rate,
    )
