"""wav2vec 2.0, HuBERT, WavLM and DistilHuBERT: networks on the waveform, pretrained on speech without labels."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.features.padding import sound_lengths
from audio_lightning.models.base import AudioModel
from audio_lightning.models.hub import (
    check_sample_rate,
    hub_folder,
    read_architecture,
    read_sample_rate,
    read_weights,
    torch_file,
)
from audio_lightning.models.torchaudio_networks import Wav2Vec2Model, networks, wav2vec2_bundle

BASE: dict[str, Any] = {
    "model_type": "wav2vec2",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 320,
    "max_bucket_distance": 800,
}
"""The published base networks, in the words of the Hugging Face hub; a frame of 400 samples every 320."""

ONLY: dict[str, tuple[Any, ...]] = {
    "model_type": ("wav2vec2", "hubert", "wavlm"),
    "feat_extract_norm": ("group", "layer"),
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "layer_norm_eps": (1e-5,),
    "conv_pos_batch_norm": (False,),
    "adapter_attn_dim": (None,),
}
"""What torchaudio can build of all that may be described there."""

ARGUMENTS = {
    "hidden_size": "encoder_embed_dim",
    "num_hidden_layers": "encoder_num_layers",
    "num_attention_heads": "encoder_num_heads",
    "intermediate_size": "encoder_ff_interm_features",
    "conv_bias": "extractor_conv_bias",
    "do_stable_layer_norm": "encoder_layer_norm_first",
    "num_conv_pos_embeddings": "encoder_pos_conv_kernel",
    "num_conv_pos_embedding_groups": "encoder_pos_conv_groups",
}
WAVLM_ARGUMENTS = {"num_buckets": "encoder_num_buckets", "max_bucket_distance": "encoder_max_distance"}
"""torchaudio's words for them."""

RENAMED = {
    r"^(wav2vec2|hubert|wavlm)\.": "",
    r"^feature_projection\.": "encoder.feature_projection.",
    r"^encoder\.(?!feature_projection\.|transformer\.)": "encoder.transformer.",
    r"\.conv\.weight_g$": ".conv.parametrizations.weight.original0",
    r"\.conv\.weight_v$": ".conv.parametrizations.weight.original1",
}
"""Published names of tensors, and torchaudio's, in the order of replacement."""


class Wav2Vec2(AudioModel):
    """wav2vec 2.0, HuBERT, WavLM and DistilHuBERT, base and large, with a classifier on all layers.

    The networks are those of Baevski et al. 2020 (arXiv 2006.11477), Hsu et al. 2021 (2106.07447), Chen et al. 2021
    (2110.13900) and Chang et al. 2021 (2110.01900). The classifier is that of SUPERB (Yang et al. 2021, 2105.01051):
    a learned weighted sum of the layers, a linear projection, its mean over time, which is the embedding, and a linear
    layer. The mean leaves the padding out: see :func:`sound_lengths`. So does attention in networks with layer
    normalization throughout, which were trained that way; those with group normalization (all base networks) were
    trained on padding that they see, and torchaudio's WavLM sees it in either case.

    The defaults make a small network for training from scratch.

    Args:
        input_shape: shape of the waveform, of which the channels are averaged. The published weights expect 16 kHz and
            clips of mean 0 and standard deviation 1.
        num_classes: number of logits.
        family: ``wav2vec2``, which is HuBERT, too, or ``wavlm``, with relative positions in attention.
        embed_dim: channels of the transformer.
        num_layers: layers of the transformer.
        num_heads: attention heads of a layer.
        channels: channels of the convolutions.
        projection: size of the embedding.
        dropout: probability of dropping an activation.
        freeze_convolutions: whether the convolutions keep the weights they begin with, as is usual in fine-tuning.
        pretrained: null; a folder in the layout of the Hugging Face hub; a name there, such as
            ``facebook/wav2vec2-base``, ``facebook/hubert-base-ls960``, ``microsoft/wavlm-base`` or
            ``ntu-spml/distilhubert``; or ``torchaudio:`` and the name of a pipeline, such as
            ``torchaudio:WAV2VEC2_BASE``. The weights bring an architecture of their own, in place of family, layers,
            heads and channels.
        architecture: null, or the network in the words of :data:`BASE`, in place of those five options; what
            ``pretrained`` has found, for a checkpoint is loaded without it.

    Attributes:
        inferred_options: options that follow from ``pretrained``.

    Raises:
        IncompatibleInput: the input is no waveform, or shorter than one frame.
        ConfigError: ``num_heads`` that does not divide ``embed_dim``; weights that cannot be had, are of another
            network, or were trained on another sample rate.
    """

    input_kind = "waveform"
    needs_sound = True
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        family: Literal["wav2vec2", "wavlm"] = "wav2vec2",
        embed_dim: int = 192,
        num_layers: int = 4,
        num_heads: int = 3,
        channels: int = 128,
        projection: int = 256,
        dropout: float = 0.1,
        freeze_convolutions: bool = False,
        pretrained: bool | str | None = None,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        weights = rate = None
        if pretrained:
            architecture, weights, rate = published(pretrained)
        elif architecture is None:
            if embed_dim % num_heads or embed_dim % 16:
                raise ConfigError(
                    f"wav2vec2 needs an embed_dim that 16 and num_heads divide, got {embed_dim} and {num_heads}"
                )
            architecture = {
                **BASE,
                "model_type": family,
                "hidden_size": embed_dim,
                "num_hidden_layers": num_layers,
                "num_attention_heads": num_heads,
                "intermediate_size": 4 * embed_dim,
                "conv_dim": [channels] * len(BASE["conv_dim"]),
            }
        convolutions = list(zip(architecture["conv_kernel"], architecture["conv_stride"]))
        super().__init__(input_shape, num_classes, minimum_input=(samples_of_a_frame(convolutions),))
        check_sample_rate(pretrained, rate, input_shape)
        self.inferred_options = {"architecture": architecture} if pretrained else {}
        self.convolutions = convolutions
        self.backbone = build_backbone(architecture, dropout)
        self.masks_attention = architecture["feat_extract_norm"] == "layer" and architecture["model_type"] != "wavlm"
        self.layer_weights = nn.Parameter(torch.zeros(architecture["num_hidden_layers"]))
        self.project = nn.Linear(architecture["hidden_size"], projection)
        self.embedding_dim = projection
        self.head = nn.Linear(projection, num_classes)
        if weights is not None:
            load(self.backbone, weights)
        self.backbone.feature_extractor.requires_grad_(not freeze_convolutions)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Mean over the sounding frames of the projected sum of the layers."""
        waveform = x.mean(1)
        lengths = sound_lengths(waveform).clamp(min=self.minimum_input[0])
        layers = self.layers(waveform, lengths)
        weighted = torch.einsum("l,lbtw->btw", self.layer_weights.softmax(0), torch.stack(layers))
        for kernel, stride in self.convolutions:
            lengths = (lengths - kernel) // stride + 1
        sounds = torch.arange(weighted.shape[1], device=x.device) < lengths[:, None]
        return (self.project(weighted) * sounds[..., None]).sum(1) / sounds.sum(1, keepdim=True)

    def layers(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int64[Tensor, "batch"]
    ) -> list[Float[Tensor, "batch frames width"]]:
        """The output of every layer of the transformer, the last one normalized where the network ends so.

        Args:
            waveform: one channel.
            lengths: samples before the padding.
        """
        layers, _ = self.backbone.extract_features(waveform, lengths if self.masks_attention else None)
        transformer = self.backbone.encoder.transformer
        if not transformer.layer_norm_first:  # then it comes before the first layer
            layers[-1] = transformer.layer_norm(layers[-1])
        return layers


def samples_of_a_frame(convolutions: list[tuple[int, int]]) -> int:
    """Samples that one frame behind convolutions, as (kernel, stride), comes from."""
    samples = 1
    for kernel, stride in reversed(convolutions):
        samples = (samples - 1) * stride + kernel
    return samples


def build_backbone(architecture: Mapping[str, Any], dropout: float) -> Wav2Vec2Model:
    """The network that an architecture describes, with weights at random."""
    is_wavlm = architecture["model_type"] == "wavlm"
    named = ARGUMENTS | WAVLM_ARGUMENTS if is_wavlm else ARGUMENTS
    shapes = (architecture[name] for name in ("conv_dim", "conv_kernel", "conv_stride"))
    backbone = (networks.wavlm_model if is_wavlm else networks.wav2vec2_model)(
        **{argument: architecture[name] for name, argument in named.items()},
        extractor_mode=f"{architecture['feat_extract_norm']}_norm",
        extractor_conv_layer_config=list(zip(*shapes)),
        encoder_projection_dropout=dropout,
        encoder_attention_dropout=dropout,
        encoder_ff_interm_dropout=dropout,
        encoder_dropout=dropout,
        # A layer that is left out in a step gives the weighted sum nothing to weight.
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    if not architecture["feat_proj_layer_norm"]:  # as in DistilHuBERT
        backbone.encoder.feature_projection.layer_norm = nn.Identity()
    return backbone


def published(pretrained: str | bool) -> tuple[dict[str, Any], Path, int | None]:
    """Architecture, place and sample rate of published weights, which are downloaded where that is needed.

    Raises:
        ConfigError: they cannot be had, or are of a network of another kind.
    """
    if pretrained is True:
        raise ConfigError("model.pretrained=true: there are several; name one, such as facebook/wav2vec2-base")
    name = str(pretrained)
    if name.startswith("torchaudio:"):
        return pipeline(name.removeprefix("torchaudio:"))
    folder = hub_folder(name)
    architecture = read_architecture(folder, BASE, ONLY, expected="a network of wav2vec 2.0, HuBERT or WavLM")
    return architecture, folder, read_sample_rate(folder)


def pipeline(name: str) -> tuple[dict[str, Any], Path, int]:
    """The same for one of :mod:`torchaudio.pipelines`."""
    bundle = wav2vec2_bundle(name)
    given = bundle._params
    named = {key: argument for key, argument in (ARGUMENTS | WAVLM_ARGUMENTS).items() if argument in given}
    sizes, kernels, strides = (list(values) for values in zip(*given["extractor_conv_layer_config"]))
    architecture = {
        **BASE,
        **{key: given[argument] for key, argument in named.items()},
        "model_type": bundle._model_type.lower(),
        "feat_extract_norm": given["extractor_mode"].removesuffix("_norm"),
        "conv_dim": sizes,
        "conv_kernel": kernels,
        "conv_stride": strides,
    }
    url = f"https://download.pytorch.org/torchaudio/models/{bundle._path}"
    return architecture, torch_file(f"torchaudio:{name}", url), int(bundle.sample_rate)


def load(backbone: Wav2Vec2Model, path: Path) -> None:
    """Load published weights; what else is stored beside them, such as a classifier, is left out.

    On the meta device nothing is loaded, but everything is checked.

    Raises:
        ConfigError: the weights are damaged, or of another network than they are said to be.
    """
    expected = backbone.state_dict().keys()
    stored = from_published(read_weights(path, next(backbone.parameters()).device))
    try:
        backbone.load_state_dict({name: stored[name] for name in expected})
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"model.pretrained: {path} does not hold the network that it describes: {reason}") from error


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchaudio's names; what is no part of the network keeps its own."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in RENAMED.items():
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    # With relative positions, which is WavLM's, torchaudio keeps query, key and value in one.
    for constant in [name for name in renamed if name.endswith(".attention.gru_rel_pos_const")]:
        layer = constant.removesuffix("gru_rel_pos_const")
        for kind in ("weight", "bias"):
            if f"{layer}q_proj.{kind}" in renamed:
                parts = [renamed.pop(f"{layer}{part}_proj.{kind}") for part in "qkv"]
                renamed[f"{layer}attention.in_proj_{kind}"] = torch.cat(parts)
                renamed[f"{layer}attention.out_proj.{kind}"] = renamed.pop(f"{layer}out_proj.{kind}")
    return renamed
