"""EAT, which has learned to foretell what a slower copy of it makes of the patches that are hidden from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.fbank import FBank
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors
from audio_lightning.models.pretrained.patch_layers import MLP, Attention, numbered_layers, over_time
from audio_lightning.models.pretrained.published_files import PublishedFile

RATE, WINDOW, HOP = 16_000, 400, 160

BANDS, PATCH = 128, 16
ROWS = BANDS // PATCH

MEAN, DEVIATION = -4.268, 4.569
"""Of the energies in AudioSet; twice the deviation is divided by."""

LENGTHS = 128
"""Frames that a spectrogram has a multiple of: 128 for clips of 1 s, 512 for 5 s, and 1,024 for 10 s, as published."""

NORM_EPS = 1e-6

CLIP = "clip"
"""The layer that is the embedding of a clip."""

HUB = "https://huggingface.co/{}/resolve/main/model.safetensors"


@dataclass(frozen=True)
class EATSizes:
    """Sizes of the network.

    Attributes:
        depth: layers of the transformer.
        width: channels of a token.
        heads: attention heads of a layer.
    """

    depth: int
    width: int
    heads: int

    @property
    def layers(self) -> Mapping[str, int]:
        """Channels of each layer that can be looked at."""
        return {**numbered_layers(self.depth, self.width), CLIP: self.width}


BASE, LARGE = EATSizes(depth=12, width=768, heads=12), EATSizes(depth=24, width=1024, heads=16)


class EAT(Backbone):
    """EAT base (Chen et al. 2024, arXiv 2401.03497), 85 million parameters, 30 epochs on AudioSet-2M without labels.

    It sees the energies of Kaldi in 128 bands, windows of 25 ms every 10 ms, in patches of 16 by 16, and zeros behind
    the clip up to the next multiple of 1.28 s. A transformer follows, which normalizes after each addition.

    ``layer0`` is what the first of its layers gets; a frame is the mean of the eight patches of 160 ms, and those of
    the zeros are left out. The embedding of a clip is the class token behind the last layer, which is ``clip``, of one
    frame (``layers=last pooling=mean``).

    Args:
        sample_rate: in hertz; 16,000 are expected.
        sizes: of the network; None for those of the published weights.
    """

    title = "EAT base"
    trained_rate = RATE
    any_rate = False
    least_seconds = WINDOW / RATE
    sizes: ClassVar[EATSizes] = BASE
    num_parameters = 85_250_000
    layers: Mapping[str, int] = BASE.layers
    single = frozenset({CLIP})
    file = PublishedFile(
        url=HUB.format("worstchan/EAT-base_epoch30_pretrain"),
        megabytes=360,
        name="EAT-base_epoch30_pretrain.safetensors",
    )
    licence = "MIT"
    citation = (
        "Chen, W., Liang, Y., Ma, Z., Zheng, Z., & Chen, X. (2024). EAT: Self-Supervised Pre-Training with Efficient "
        "Audio Transformer. IJCAI, 3807-3815"
    )

    def __init__(self, sample_rate: int = RATE, sizes: EATSizes | None = None) -> None:
        super().__init__(sample_rate)
        sizes = self.sizes if sizes is None else sizes
        self.layers = sizes.layers
        self.fbank = FBank(
            sample_rate=sample_rate, num_samples=sample_rate, n_mels=BANDS, window="hanning", normalize="none"
        )
        self.model = _Network(sizes)

    def spectrogram(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frames bands"]:
        """What the patches are cut out of, the zeros behind it included."""
        with full_precision(waveform):
            energies = self.fbank.compute(waveform.float()).squeeze(1).mT
            padded = functional.pad(energies, (0, 0, 0, -energies.shape[1] % LENGTHS))
            return (padded - MEAN) / (2 * DEVIATION)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """The mean over frequency of what each layer makes of the patches, and the class token."""
        found = self.model(self.spectrogram(waveform))
        frames = max(0, waveform.shape[-1] - WINDOW) // HOP + 1
        columns = -(-frames // PATCH)
        maps = {name: over_time(x[:, 1:], ROWS)[..., :columns] for name, x in zip(self.layers, found)}
        return {**maps, CLIP: found[-1][:, :1].mT}

    def load(self) -> None:
        """Take the published weights; see :meth:`Backbone.load`."""
        path, device = self.file.path(), self.model.extra_tokens.device
        try:
            stored = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path} holds no weights of {self.title}: {error!r}"[:300]) from error
        load_tensors(self, stored, self.file, self.title)


class EATAudioSet(EAT):
    """EAT base, trained further on the labels of AudioSet-2M; otherwise as :class:`EAT`."""

    title = "EAT base (AudioSet)"
    file = PublishedFile(
        url=HUB.format("worstchan/EAT-base_epoch30_finetune_AS2M"),
        megabytes=362,
        name="EAT-base_epoch30_finetune_AS2M.safetensors",
    )


class EATLarge(EAT):
    """EAT large, 303 million parameters, 20 epochs on AudioSet-2M without labels; otherwise as :class:`EAT`."""

    title = "EAT large"
    sizes = LARGE
    num_parameters = 302_600_000
    layers = LARGE.layers
    file = PublishedFile(
        url=HUB.format("worstchan/EAT-large_epoch20_pretrain"),
        megabytes=1236,
        name="EAT-large_epoch20_pretrain.safetensors",
    )


class SSLAM(EAT):
    """SSLAM (Alex et al. 2025), the network of :class:`EAT` base, trained further on mixtures of recordings."""

    title = "SSLAM"
    file = PublishedFile(
        url=HUB.format("ta012/SSLAM_pretrain"),
        megabytes=360,
        checksum="sha256:8ec670adb241c710422ddd894ff1bade142ef0b25cf1ee68577aa45f89432298",
        name="SSLAM_pretrain.safetensors",
    )
    citation = (
        "Alex, T., Atito, S., Mustafa, A., Awais, M., & Jackson, P. J. B. (2025). SSLAM: Enhancing Self-Supervised "
        "Models with Audio Mixtures for Polyphonic Soundscapes. ICLR"
    )


class _Network(nn.Module):
    """The transformer with its patches; the names are those of the published tensors, here and below."""

    def __init__(self, sizes: EATSizes) -> None:
        super().__init__()
        self.local_encoder = nn.ModuleDict({"proj": nn.Conv2d(1, sizes.width, PATCH, PATCH)})
        self.extra_tokens = nn.Parameter(0.02 * torch.randn(1, 1, sizes.width))
        self.pre_norm = nn.LayerNorm(sizes.width, eps=NORM_EPS)
        self.blocks = nn.ModuleList(_Block(sizes.width, sizes.heads) for _ in range(sizes.depth))

    def forward(self, spectrogram: Float[Tensor, "batch frames bands"]) -> list[Tensor]:
        """What the first layer gets, and what each of them makes of it: the class token, then patches, by columns."""
        patches = self.local_encoder["proj"](spectrogram.unsqueeze(1))
        _, width, columns, rows = patches.shape
        tokens = patches.flatten(2).mT + positions(columns, rows, width, patches.device)
        found = [self.pre_norm(torch.cat([self.extra_tokens.expand(tokens.shape[0], -1, -1), tokens], dim=1))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found


class _Block(nn.Module):
    """Attention and two linear layers, each added to what has come in, and normalized afterwards."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=NORM_EPS), nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


def positions(columns: int, rows: int, width: int, device: torch.device) -> Float[Tensor, "tokens width"]:
    """Sines and cosines of the row of each patch, then of its column, at frequencies from 1 down to 1/10,000.

    Of 768 columns (123 s), a published file stores them; they are computed here, for as many as there are.
    """
    quarter = width // 4
    frequencies = 10_000 ** -(torch.arange(quarter, device=device) / quarter)

    def waves(places: int) -> Float[Tensor, "places half"]:
        angles = torch.arange(places, device=device)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    return torch.cat([waves(rows).repeat(columns, 1), waves(columns).repeat_interleave(rows, dim=0)], dim=1)
