"""BEATs: transformers on spectrograms, pretrained by predicting the tokens of masked patches."""

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
"""Factor that scales samples from [-1, 1] to the range of 16-bit audio."""

MEAN, DEVIATION = 15.41663, 6.55582
"""Statistics of the energies in AudioSet; the input is divided by twice the deviation."""

KERNEL, GROUPS = 128, 16
"""Kernel size and groups of the convolution that encodes positions."""

BUCKETS, FARTHEST = 320, 800
"""Number of buckets of distances between tokens; distances beyond FARTHEST share the last ones."""

MIRROR = "https://huggingface.co/lpepino/beats_ckpts/resolve/main"
"""Copies of the published files; Microsoft's own links lead to pages for a browser."""

FINE_TUNED = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2"


@dataclass(frozen=True)
class BEATsSizes:
    """Sizes of the network; the defaults fit the published weights.

    Attributes:
        depth: number of layers of the transformer.
        width: size of a token.
        hidden: width between the two linear layers of a layer.
        heads: attention heads of a layer.
        patch_width: number of channels of a patch before its projection to a token.
    """

    depth: int = 12
    width: int = 768
    hidden: int = 3072
    heads: int = 12
    patch_width: int = 512


BASE = BEATsSizes()


class BEATs(Backbone):
    """BEATs, iteration 3+ (Chen et al. 2022, arXiv 2212.09058), 90 million parameters, trained on AudioSet.

    It was trained on AudioSet-2M without labels, but its tokenizer was distilled from a network trained with labels.
    The input is Kaldi's filter bank with 128 bands, windows of 25 ms every 10 ms, in patches of 16 by 16; frames that
    do not fill a patch are dropped. The transformer has DeepNorm and gated relative positions.

    ``layer0`` is the input of the first layer; a frame is the mean of the eight patches of the same 160 ms. The
    embedding of a clip is the mean over time of the last layer (``layers=last pooling=mean``), which is the mean over
    all patches.

    Args:
        sample_rate: rate of the waveforms in hertz; 16,000 are expected.
        sizes: sizes of the network; the published weights fit the default.
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
        """Compute the spectrogram from which the patches are cut."""
        with full_precision(waveform):
            return ((self.fbank.compute(LOUDNESS * waveform.float()) - MEAN) / (2 * DEVIATION)).squeeze(1).mT

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of all layers, averaged over frequency."""
        patches = self.patch_embedding(self.spectrogram(waveform).unsqueeze(1))
        tokens = self.post_extract_proj(self.layer_norm(patches.flatten(2).mT))
        return {name: over_time(x, ROWS) for name, x in zip(self.layers, self.encoder(tokens))}

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        stored = read_tensors(self.file, self.title, self.patch_embedding.weight.device)
        load_tensors(self, stored, self.file, self.title)


class BEATsIter3(BEATs):
    """BEATs, iteration 3, trained on AudioSet-2M without any labels; otherwise like :class:`BEATs`."""

    title = "BEATs iter3"
    file = PublishedFile(
        url=f"{MIRROR}/BEATs_iter3.pt",
        megabytes=361,
        checksum="sha256:8d1b234032a9ccff353612dc6c20982346dc2968b205b79d97303eb5e77bfb34",
    )


class BEATsAudioSet(BEATs):
    """BEATs, iteration 3+, fine-tuned on the labels of AudioSet-2M; otherwise like :class:`BEATs`."""

    title = "BEATs iter3+ (AudioSet)"
    file = PublishedFile(
        url=f"https://huggingface.co/WeiChihChen/{FINE_TUNED}/resolve/main/{FINE_TUNED}.pt",
        megabytes=363,
        checksum="sha256:e5815275a04b6885e7b8af63d120b29bffae2cd2225cf4915e1ec6d819d3022c",
    )


class _Encoder(nn.Module):
    """Transformer; here and below, submodules are named like the published tensors."""

    def __init__(self, sizes: BEATsSizes) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(_PositionConvolution(sizes.width))
        self.layer_norm = nn.LayerNorm(sizes.width)
        self.layers = nn.ModuleList(_Layer(sizes, has_positions=number == 0) for number in range(sizes.depth))

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> list[Tensor]:
        """Return the input of the first layer, and the outputs of all layers."""
        x = self.layer_norm(x + functional.gelu(self.pos_conv(x.mT)).mT)
        found = [x]
        # All layers share the relative positions of the first one; the published files store a copy for each layer.
        learned = self.layers[0].get_submodule("self_attn.relative_attention_bias")
        bias = learned(distance_buckets(x.shape[1], x.device)).permute(2, 0, 1)
        for layer in self.layers:
            found.append(x := layer(x, bias))
        return found


class _PositionConvolution(nn.Module):
    """Convolution over the tokens that keeps their number, with weight normalization."""

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
    """Attention and MLP with DeepNorm: each is added to alpha times its input, then normalized."""

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
    """Self-attention with a bias for relative positions, gated by each token."""

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
    """Bucket of the distance between each pair of tokens: exact for small distances, logarithmic beyond, both ways."""
    places = torch.arange(tokens, device=device)
    distances = places - places[:, None]
    half = BUCKETS // 2
    nearby = half // 2
    lengths = distances.abs()
    octaves = (lengths.clamp_min(1).float() / nearby).log() / math.log(FARTHEST / nearby)
    beyond = (nearby + (octaves * (half - nearby)).long()).clamp_max(half - 1)
    return half * (distances > 0) + torch.where(lengths < nearby, lengths, beyond)
