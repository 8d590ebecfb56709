"""Dasheng: encoders of masked autoencoders on spectrograms of sounds of all kinds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.features.filters import MelSettings
from audio_lightning.features.stft import Decibel
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors, read_tensors
from audio_lightning.models.pretrained.patch_layers import MLP, Attention, numbered_layers
from audio_lightning.models.pretrained.published_files import PublishedFile

RATE, WINDOW, HOP, BANDS = 16_000, 512, 160, 64

PATCH = 4
"""Number of frames of a patch, which covers all bands."""

LONGEST = 252
"""Maximum number of patches that are processed together: 10.08 s."""

LOUDEST_TO_QUIETEST = 120.0
"""Dynamic range of the spectrogram below the maximum of a clip, in decibels."""

NORM_EPS = 1e-6

ZENODO = "https://zenodo.org/records/11511780/files"


@dataclass(frozen=True)
class DashengSizes:
    """Sizes of the network.

    Attributes:
        depth: number of layers of the transformer.
        width: size of a patch's token.
        heads: attention heads of a layer.
        longest: maximum number of patches that are processed together.
    """

    depth: int
    width: int
    heads: int
    longest: int = LONGEST


class Dasheng(Backbone):
    """Dasheng base (Dinkel et al. 2024, arXiv 2406.06992), 86 million parameters, the encoder of a masked autoencoder.

    It was trained without labels on 272,000 hours: VGGSound, AudioSet, MTG-Jamendo and ACAV100M. The input is a mel
    spectrogram of 64 bands in decibels, Hann windows of 32 ms every 10 ms, in patches of four frames; frames that do
    not fill a patch are dropped. Clips longer than 10.08 s are processed in independent pieces of that length.

    ``layer0`` is the input of the first layer; the last layer is normalized, as in the network's output; 25 frames per
    second. The embedding of a clip is its mean over time (``layers=last pooling=mean``).

    Args:
        sample_rate: rate of the waveforms in hertz; 16,000 are expected.
        sizes: sizes of the network; None for the published sizes.
    """

    title = "Dasheng base"
    trained_rate = RATE
    any_rate = False
    least_seconds = (PATCH - 1) * HOP / RATE
    sizes: ClassVar[DashengSizes] = DashengSizes(depth=12, width=768, heads=12)
    num_parameters = 85_450_000
    layers: Mapping[str, int] = numbered_layers(12, 768)
    file = PublishedFile(url=f"{ZENODO}/dasheng_base.pt?download=1", megabytes=342)
    licence = "Apache 2.0"
    citation = (
        "Dinkel, H., Yan, Z., Wang, Y., Zhang, J., Wang, Y., & Wang, B. (2024). Scaling up masked audio encoder "
        "learning for general audio classification. Interspeech, 547-551"
    )

    def __init__(self, sample_rate: int = RATE, sizes: DashengSizes | None = None) -> None:
        super().__init__(sample_rate)
        sizes = self.sizes if sizes is None else sizes
        self.layers = numbered_layers(sizes.depth, sizes.width)
        bands = MelSettings(WINDOW / RATE, HOP / RATE, WINDOW, f_min=0, f_max=RATE / 2)
        self.mel = bands.spectrogram(sample_rate, BANDS, center=False)
        self.decibel = Decibel(LOUDEST_TO_QUIETEST)
        # Here and below, submodules are named like the published tensors.
        self.init_bn = nn.ModuleDict({"1": nn.BatchNorm1d(BANDS, momentum=0.01)})
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, sizes.width, (BANDS, PATCH), (BANDS, PATCH))})
        self.time_pos_embed = nn.Parameter(0.02 * torch.randn(1, sizes.width, 1, sizes.longest))
        self.freq_pos_embed = nn.Parameter(0.02 * torch.randn(1, sizes.width, 1, 1))
        self.blocks = nn.Sequential(*(_Block(sizes.width, sizes.heads) for _ in range(sizes.depth)))
        self.norm = nn.LayerNorm(sizes.width, eps=NORM_EPS)

    def spectrogram(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bands frames"]:
        """Compute the normalized spectrogram, with frames centred on all multiples of the hop."""
        with full_precision(waveform):
            # The clip is padded by reflection.
            mirrored = functional.pad(waveform.float(), (WINDOW // 2, WINDOW // 2), mode="reflect")
            bands = self.mel(mirrored)[..., : waveform.shape[-1] // HOP + 1]
            return self.init_bn["1"](self.decibel(bands))

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of all layers over time."""
        patches = self.patch_embed["proj"](self.spectrogram(waveform).unsqueeze(1))
        pieces = [self._process_piece(piece) for piece in patches.split(self.time_pos_embed.shape[-1], dim=-1)]
        return {name: torch.cat(found, dim=2) for name, found in zip(self.layers, zip(*pieces))}

    def _process_piece(
        self, piece: Float[Tensor, "batch width 1 patches"]
    ) -> list[Float[Tensor, "batch width patches"]]:
        placed = piece + self.time_pos_embed[..., : piece.shape[-1]] + self.freq_pos_embed
        found = [placed.squeeze(2).mT]
        for block in self.blocks:
            found.append(block(found[-1]))
        found[-1] = self.norm(found[-1])
        return [x.mT for x in found]

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        stored = read_tensors(self.file, self.title, self.freq_pos_embed.device)
        load_tensors(self, stored, self.file, self.title)


class Dasheng06B(Dasheng):
    """Dasheng 0.6B, 630 million parameters; otherwise like :class:`Dasheng`."""

    title = "Dasheng 0.6B"
    sizes = DashengSizes(depth=32, width=1280, heads=16)
    num_parameters = 630_300_000
    layers = numbered_layers(32, 1280)
    file = PublishedFile(url=f"{ZENODO}/dasheng_06b.pt?download=1", megabytes=2522)


class Dasheng12B(Dasheng):
    """Dasheng 1.2B, 1,134 million parameters; otherwise like :class:`Dasheng`."""

    title = "Dasheng 1.2B"
    sizes = DashengSizes(depth=40, width=1536, heads=24)
    num_parameters = 1_134_000_000
    layers = numbered_layers(40, 1536)
    file = PublishedFile(url=f"{ZENODO}/dasheng_12b.pt?download=1", megabytes=4536)


class DashengAudioSet(Dasheng):
    """Dasheng base, fine-tuned on the labels of AudioSet; otherwise like :class:`Dasheng`."""

    title = "Dasheng base (AudioSet)"
    file = PublishedFile(
        url="https://zenodo.org/records/13315686/files/dasheng_audioset_mAP497.pt?download=1", megabytes=344
    )


class _Block(nn.Module):
    """Pre-norm transformer layer: attention and MLP, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=NORM_EPS), nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Float[Tensor, "batch patches width"]) -> Float[Tensor, "batch patches width"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))
