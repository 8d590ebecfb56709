"""BEATs, which has learned to tell what is hidden from it of a spectrogram, in the words of a tokenizer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.features.fbank import FBank
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors, read_tensors
from audio_lightning.models.pretrained.patch_layers import numbered_layers, over_time
from audio_lightning.models.pretrained.published_files import PublishedFile

RATE, WINDOW, HOP = 16_000, 400, 160

BANDS, PATCH = 128, 16
ROWS = BANDS // PATCH

LOUDNESS = 2**15
"""Samples go from -LOUDNESS to LOUDNESS, as those of a file of 16 bits."""

MEAN, DEVIATION = 15.41663, 6.55582
"""Of the energies in AudioSet; twice the deviation is divided by."""

KERNEL, GROUPS = 128, 16
"""Of the convolution that tells tokens where they are."""

BUCKETS, FARTHEST = 320, 800
"""Distances of two tokens that are told apart; the farthest are taken for one."""

MIRROR = "https://huggingface.co/lpepino/beats_ckpts/resolve/main"
"""Copies of the published files; Microsoft's own links are pages for a browser."""

FINE_TUNED = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2"


@dataclass(frozen=True)
class BEATsSizes:
    """Sizes of the network, which are those that are published unless stated otherwise.

    Attributes:
        depth: layers of the transformer.
        width: channels of a token.
        hidden: channels between the two linear layers of a layer.
        heads: attention heads of a layer.
        patch_width: channels of a patch before it becomes a token.
    """

    depth: int = 12
    width: int = 768
    hidden: int = 3072
    heads: int = 12
    patch_width: int = 512


BASE = BEATsSizes()


class BEATs(Backbone):
    """BEATs, iteration 3+ (Chen et al. 2022, arXiv 2212.09058), 90 million parameters, trained on AudioSet.

    It has learned from AudioSet-2M without labels; its tokenizer was taught by a network that knew them. It sees the
    energies of Kaldi in 128 bands, windows of 25 ms every 10 ms, in patches of 16 by 16. Frames that do not fill a
    patch are left out. A transformer with DeepNorm follows, whose attention has gated relative positions.

    ``layer0`` is what the first of its layers gets; a frame is the mean of the eight patches of 160 ms. The embedding
    of a clip is the mean over time of the last layer (``layers=last pooling=mean``), which is that over all patches.

    Args:
        sample_rate: in hertz; 16,000 are expected.
        sizes: of the network, for which the published weights are those of the default.
    """

    title = "BEATs iter3+"
    trained_rate = RATE
    any_rate = False
    least_seconds = (WINDOW + (PATCH - 1) * HOP) / RATE
    num_parameters = 90_310_000
    layers: Mapping[str, int] = numbered_layers(BASE.depth, BASE.width)
    file = PublishedFile(
        url=f"{MIRROR}/BEATs_iter3_plus_AS2M.pt",
        megabytes=361,
        checksum="sha256:d43cbfad4d7b56381c061d7a24774f908d4d94c72961f6eb1d9090ff18cd8d34",
    )
    licence = "MIT"
    citation = (
        "Chen, S., Wu, Y., Wang, C., Liu, S., Tompkins, D., Chen, Z., Che, W., Yu, X., & Wei, F. (2023). BEATs: Audio "
        "Pre-Training with Acoustic Tokenizers. ICML, 5178-5193"
    )

    def __init__(self, sample_rate: int = RATE, sizes: BEATsSizes = BASE) -> None:
        super().__init__(sample_rate)
        self.layers = numbered_layers(sizes.depth, sizes.width)
        self.fbank = FBank(
            sample_rate=sample_rate, num_samples=sample_rate, n_mels=BANDS, window="povey", normalize="none"
        )
        self.patch_embedding = nn.Conv2d(1, sizes.patch_width, PATCH, PATCH, bias=False)
        self.layer_norm = nn.LayerNorm(sizes.patch_width)
        self.post_extract_proj = nn.Linear(sizes.patch_width, sizes.width)
        self.encoder = _Encoder(sizes)

    def spectrogram(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frames bands"]:
        """What the patches are cut out of."""
        with full_precision(waveform):
            return ((self.fbank.compute(LOUDNESS * waveform.float()) - MEAN) / (2 * DEVIATION)).squeeze(1).mT

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """The mean over frequency of what each layer makes of the patches."""
        patches = self.patch_embedding(self.spectrogram(waveform).unsqueeze(1))
        tokens = self.post_extract_proj(self.layer_norm(patches.flatten(2).mT))
        return {name: over_time(x, ROWS) for name, x in zip(self.layers, self.encoder(tokens))}

    def load(self) -> None:
        """Take the published weights; see :meth:`Backbone.load`."""
        stored = read_tensors(self.file, self.title, self.patch_embedding.weight.device)
        load_tensors(self, stored, self.file, self.title)


class BEATsIter3(BEATs):
    """BEATs, iteration 3, which has learned from AudioSet-2M without any labels; otherwise as :class:`BEATs`."""

    title = "BEATs iter3"
    file = PublishedFile(
        url=f"{MIRROR}/BEATs_iter3.pt",
        megabytes=361,
        checksum="sha256:8d1b234032a9ccff353612dc6c20982346dc2968b205b79d97303eb5e77bfb34",
    )


class BEATsAudioSet(BEATs):
    """BEATs, iteration 3+, trained further on the labels of AudioSet-2M; otherwise as :class:`BEATs`."""

    title = "BEATs iter3+ (AudioSet)"
    file = PublishedFile(
        url=f"https://huggingface.co/WeiChihChen/{FINE_TUNED}/resolve/main/{FINE_TUNED}.pt",
        megabytes=363,
        checksum="sha256:e5815275a04b6885e7b8af63d120b29bffae2cd2225cf4915e1ec6d819d3022c",
    )


class _Encoder(nn.Module):
    """The transformer; the names are those of the published tensors, here and below."""

    def __init__(self, sizes: BEATsSizes) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(_PositionConvolution(sizes.width))
        self.layer_norm = nn.LayerNorm(sizes.width)
        self.layers = nn.ModuleList(_Layer(sizes, has_positions=number == 0) for number in range(sizes.depth))

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> list[Tensor]:
        """What the first layer gets, and what each of them makes of it."""
        x = self.layer_norm(x + functional.gelu(self.pos_conv(x.mT)).mT)
        found = [x]
        # All layers have the distances that the first one has learned; its tensor is stored with each of them.
        learned = self.layers[0].get_submodule("self_attn.relative_attention_bias")
        bias = learned(distance_buckets(x.shape[1], x.device)).permute(2, 0, 1)
        for layer in self.layers:
            found.append(x := layer(x, bias))
        return found


class _PositionConvolution(nn.Module):
    """A convolution over tokens, as many as there were; of its weights, the direction and the length are learned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(width, width // GROUPS, KERNEL))
        nn.init.normal_(self.weight_v, std=(4 / (KERNEL * width)) ** 0.5)
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "batch width tokens"]) -> Float[Tensor, "batch width tokens"]:
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        return functional.conv1d(x, weight, self.bias, padding=KERNEL // 2, groups=GROUPS)[..., :-1]


class _Layer(nn.Module):
    """Attention and two linear layers, each added to what has come in, alpha times as large, and normalized."""

    def __init__(self, sizes: BEATsSizes, *, has_positions: bool) -> None:
        super().__init__()
        self.alpha = (2 * sizes.depth) ** 0.25
        self.self_attn = _GatedAttention(sizes, has_positions=has_positions)
        self.self_attn_layer_norm = nn.LayerNorm(sizes.width)
        self.fc1, self.fc2 = nn.Linear(sizes.width, sizes.hidden), nn.Linear(sizes.hidden, sizes.width)
        self.final_layer_norm = nn.LayerNorm(sizes.width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], bias: Float[Tensor, "heads tokens tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        x = self.self_attn_layer_norm(self.alpha * x + self.self_attn(x, bias))
        return self.final_layer_norm(self.alpha * x + self.fc2(functional.gelu(self.fc1(x))))


class _GatedAttention(nn.Module):
    """Self-attention that adds what a distance counts, as much of it as each token asks for."""

    def __init__(self, sizes: BEATsSizes, *, has_positions: bool) -> None:
        super().__init__()
        self.heads = sizes.heads
        width = sizes.width
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in "qkv")
        self.out_proj = nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // sizes.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, sizes.heads, 1, 1))
        if has_positions:
            self.relative_attention_bias = nn.Embedding(BUCKETS, sizes.heads)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], bias: Float[Tensor, "heads tokens tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (project(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in projections)
        update, reset = self.grep_linear(query).unflatten(3, (2, 4)).sum(4).sigmoid().split(1, dim=3)
        counting = (update * (reset * self.grep_a - 1) + 2) * bias
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=counting.to(query.dtype))
        return self.out_proj(found.transpose(1, 2).flatten(2))


def distance_buckets(tokens: int, device: torch.device) -> Int64[Tensor, "tokens tokens"]:
    """Number of the distance from each token to each: one each nearby, on a logarithmic scale beyond, both ways."""
    places = torch.arange(tokens, device=device)
    distances = places - places[:, None]
    half = BUCKETS // 2
    nearby = half // 2
    lengths = distances.abs()
    octaves = (lengths.clamp_min(1).float() / nearby).log() / math.log(FARTHEST / nearby)
    beyond = (nearby + (octaves * (half - nearby)).long()).clamp_max(half - 1)
    return half * (distances > 0) + torch.where(lengths < nearby, lengths, beyond)
