"""EAT: transformers on spectrograms, pretrained by predicting a teacher's outputs for masked patches."""

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
"""Statistics of the energies in AudioSet; the input is divided by twice the deviation."""

LENGTHS = 128
"""The number of frames is padded to a multiple of this, as published: 128 for 1 s, 512 for 5 s, 1,024 for 10 s."""

NORM_EPS = 1e-6

CLIP = "clip"
"""Name of the layer that holds the embedding of a clip."""

HUB = "https://huggingface.co/{}/resolve/main/model.safetensors"


@dataclass(frozen=True)
class EATSizes:
    """Sizes of the network.

    Attributes:
        depth: number of layers of the transformer.
        width: size of a token.
        heads: attention heads of a layer.
    """

    depth: int
    width: int
    heads: int

    @property
    def layers(self) -> Mapping[str, int]:
        """Number of channels of each layer, by name."""
        return {**numbered_layers(self.depth, self.width), CLIP: self.width}


BASE, LARGE = EATSizes(depth=12, width=768, heads=12), EATSizes(depth=24, width=1024, heads=16)


class EAT(Backbone):
    """EAT base (Chen et al. 2024, arXiv 2401.03497), 85 million parameters, 30 epochs on AudioSet-2M without labels.

    The input is Kaldi's filter bank with 128 bands, windows of 25 ms every 10 ms, in patches of 16 by 16, padded with
    zeros to a multiple of 1.28 s. The transformer has post-norm layers.

    ``layer0`` is the input of the first layer; a frame is the mean of the eight patches of the same 160 ms. Frames of
    padding are dropped. The embedding of a clip is the class token after the last layer, the layer ``clip`` with one
    frame (``layers=last pooling=mean``).

    Args:
        sample_rate: rate of the waveforms in hertz; 16,000 are expected.
        sizes: sizes of the network; None for the published sizes.
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
        """Compute the padded spectrogram from which the patches are cut."""
        with full_precision(waveform):
            energies = self.fbank.compute(waveform.float()).squeeze(1).mT
            padded = functional.pad(energies, (0, 0, 0, -energies.shape[1] % LENGTHS))
            return (padded - MEAN) / (2 * DEVIATION)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of all layers, averaged over frequency, and the class token."""
        found = self.model(self.spectrogram(waveform))
        frames = max(0, waveform.shape[-1] - WINDOW) // HOP + 1
        columns = -(-frames // PATCH)
        maps = {name: over_time(x[:, 1:], ROWS)[..., :columns] for name, x in zip(self.layers, found)}
        return {**maps, CLIP: found[-1][:, :1].mT}

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        path, device = self.file.path(), self.model.extra_tokens.device
        try:
            stored = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{path} contains no weights of {self.title}: {error!r:.200}; {self.file.remedy}"
            ) from error
        load_tensors(self, stored, self.file, self.title)


class EATAudioSet(EAT):
    """EAT base, fine-tuned on the labels of AudioSet-2M; otherwise like :class:`EAT`."""

    title = "EAT base (AudioSet)"
    file = PublishedFile(
        url=HUB.format("worstchan/EAT-base_epoch30_finetune_AS2M"),
        megabytes=362,
        name="EAT-base_epoch30_finetune_AS2M.safetensors",
    )


class EATLarge(EAT):
    """EAT large, 303 million parameters, 20 epochs on AudioSet-2M without labels; otherwise like :class:`EAT`."""

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
    """SSLAM (Alex et al. 2025): :class:`EAT` base, trained further on mixtures of recordings."""

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
    """Transformer with its patch embedding; here and below, submodules are named like the published tensors."""

    def __init__(self, sizes: EATSizes) -> None:
        super().__init__()
        self.local_encoder = nn.ModuleDict({"proj": nn.Conv2d(1, sizes.width, PATCH, PATCH)})
        self.extra_tokens = nn.Parameter(0.02 * torch.randn(1, 1, sizes.width))
        self.pre_norm = nn.LayerNorm(sizes.width, eps=NORM_EPS)
        self.blocks = nn.ModuleList(_Block(sizes.width, sizes.heads) for _ in range(sizes.depth))

    def forward(self, spectrogram: Float[Tensor, "batch frames bands"]) -> list[Tensor]:
        """Return the input of the first layer and the outputs of all layers: class token, then patches by columns."""
        patches = self.local_encoder["proj"](spectrogram.unsqueeze(1))
        _, width, columns, rows = patches.shape
        tokens = patches.flatten(2).mT + positions(columns, rows, width, patches.device)
        found = [self.pre_norm(torch.cat([self.extra_tokens.expand(tokens.shape[0], -1, -1), tokens], dim=1))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found


class _Block(nn.Module):
    """Post-norm transformer layer: attention and MLP, each added to its input and then normalized."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=NORM_EPS), nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


def positions(columns: int, rows: int, width: int, device: torch.device) -> Float[Tensor, "tokens width"]:
    """Sinusoidal positions: sines and cosines of each patch's row, then of its column, at frequencies 1 to 1/10,000.

    A published file stores them for 768 columns (123 s); here they are computed for any number of columns.
    """
    quarter = width // 4
    frequencies = 10_000 ** -(torch.arange(quarter, device=device) / quarter)

    def waves(places: int) -> Float[Tensor, "places half"]:
        angles = torch.arange(places, device=device)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    return torch.cat([waves(rows).repeat(columns, 1), waves(columns).repeat_interleave(rows, dim=0)], dim=1)
