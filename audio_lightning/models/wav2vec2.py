"""wav2vec 2.0, HuBERT, WavLM and DistilHuBERT: self-supervised speech networks on waveforms."""

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
"""Architecture of the published base networks, with the keys of the Hugging Face hub. A frame covers
400 samples, with a hop of 320."""

ONLY: dict[str, tuple[Any, ...]] = {
    "model_type": ("wav2vec2", "hubert", "wavlm"),
    "feat_extract_norm": ("group", "layer"),
    "hidden_act": ("gelu",),
    "feat_extract_activation": ("gelu",),
    "layer_norm_eps": (1e-5,),
    "conv_pos_batch_norm": (False,),
    "adapter_attn_dim": (None,),
}
"""Values of ``config.json`` that torchaudio can build."""

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
"""torchaudio's names of these arguments."""

RENAMED = {
    r"^(wav2vec2|hubert|wavlm)\.": "",
    r"^feature_projection\.": "encoder.feature_projection.",
    r"^encoder\.(?!feature_projection\.|transformer\.)": "encoder.transformer.",
    r"\.conv\.weight_g$": ".conv.parametrizations.weight.original0",
    r"\.conv\.weight_v$": ".conv.parametrizations.weight.original1",
}
"""Regular expressions of published tensor names and replacements for torchaudio's names, in order of application."""


class Wav2Vec2(AudioModel):
    """wav2vec 2.0, HuBERT, WavLM and DistilHuBERT, base and large, with a classifier on all layers.

    The papers are Baevski et al. 2020 (arXiv 2006.11477), Hsu et al. 2021 (2106.07447), Chen et al. 2021 (2110.13900)
    and Chang et al. 2021 (2110.01900). The classifier is as in SUPERB (Yang et al. 2021, 2105.01051): a learned
    weighted sum of the layers, a linear projection, its mean over time (the embedding), and a linear layer.

    The mean excludes padding, see :func:`sound_lengths`. In networks with layer normalization throughout, attention
    also excludes it, as in their training. Networks with group normalization (all base networks) were trained with
    padding included, and torchaudio's WavLM includes it in either case.

    The defaults build a small network for training from scratch.

    Args:
        input_shape: shape of the waveform; its channels are averaged. The published weights expect 16 kHz and clips of
            mean 0 and standard deviation 1.
        num_classes: number of logits.
        family: ``wav2vec2`` (also for HuBERT), or ``wavlm``, with relative positions in attention.
        embed_dim: width of the transformer.
        num_layers: number of layers of the transformer.
        num_heads: attention heads of a layer.
        channels: number of channels of the convolutions.
        projection: size of the embedding.
        dropout: dropout probability.
        freeze_convolutions: whether the convolutions keep their initial weights, as is usual in fine-tuning.
        pretrained: None; a folder in the layout of the Hugging Face hub; a name on the hub, such as
            ``facebook/wav2vec2-base``, ``facebook/hubert-base-ls960``, ``microsoft/wavlm-base`` or
            ``ntu-spml/distilhubert``; or ``torchaudio:`` and the name of a pipeline, such as
            ``torchaudio:WAV2VEC2_BASE``. The architecture of the weights replaces the five options from ``family`` to
            ``channels``.
        architecture: None, or the architecture with the keys of :data:`BASE`, which replaces those five options.
            Checkpoints store the architecture of published weights here, so that they load without the published files.

    Attributes:
        inferred_options: options derived from ``pretrained``.

    Raises:
        IncompatibleInput: the input is not a waveform, or is shorter than one frame.
        ConfigError: ``embed_dim`` is not a multiple of ``num_heads`` and of 16; or the weights are not available,
            belong to another network, or were trained at another sample rate.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.wav2vec2 import Wav2Vec2
        >>> model = Wav2Vec2(FeatureShape("waveform", (1, 4000)), num_classes=10, num_layers=1, channels=32)
        >>> model(torch.randn(2, 1, 4000)).shape
        torch.Size([2, 10])
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
                    f"wav2vec2 needs an embed_dim that 16 and num_heads divide, got {embed_dim} and {num_heads}; "
                    "use embed_dim=192 and num_heads=3, for example"
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
        """Average the projected sum of the layers over the frames that are not padding."""
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
        """Compute the output of every layer of the transformer, including a normalization at the end of the network.

        Args:
            waveform: waveform with one channel.
            lengths: length of each clip in samples without padding.
        """
        layers, _ = self.backbone.extract_features(waveform, lengths if self.masks_attention else None)
        transformer = self.backbone.encoder.transformer
        if not transformer.layer_norm_first:  # then this normalization comes before the first layer
            layers[-1] = transformer.layer_norm(layers[-1])
        return layers


def samples_of_a_frame(convolutions: list[tuple[int, int]]) -> int:
    """Length in samples of the receptive field of one frame after convolutions, given as (kernel, stride)."""
    samples = 1
    for kernel, stride in reversed(convolutions):
        samples = (samples - 1) * stride + kernel
    return samples


def build_backbone(architecture: Mapping[str, Any], dropout: float) -> Wav2Vec2Model:
    """Build the network of an architecture with random weights."""
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
        # No layer drop: a dropped layer has no output for the weighted sum.
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    if not architecture["feat_proj_layer_norm"]:  # as in DistilHuBERT
        backbone.encoder.feature_projection.layer_norm = nn.Identity()
    return backbone


def published(pretrained: str | bool) -> tuple[dict[str, Any], Path, int | None]:
    """Return architecture, path and sample rate of published weights, which are downloaded if necessary.

    Raises:
        ConfigError: the weights are not available, or belong to a network of another kind.
    """
    if pretrained is True:
        raise ConfigError(
            "model.pretrained=true: several weights are published; name one, such as facebook/wav2vec2-base"
        )
    name = str(pretrained)
    if name.startswith("torchaudio:"):
        return pipeline(name.removeprefix("torchaudio:"))
    folder = hub_folder(name)
    architecture = read_architecture(folder, BASE, ONLY, expected="a network of wav2vec 2.0, HuBERT or WavLM")
    return architecture, folder, read_sample_rate(folder)


def pipeline(name: str) -> tuple[dict[str, Any], Path, int]:
    """Like :func:`published`, for one of :mod:`torchaudio.pipelines`."""
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
    """Load published weights; other tensors in the file, such as a classifier, are ignored.

    On the meta device everything is checked but nothing is loaded.

    Raises:
        ConfigError: the weights are damaged, or do not fit the architecture.
    """
    expected = backbone.state_dict().keys()
    stored = from_published(read_weights(path, next(backbone.parameters()).device))
    try:
        backbone.load_state_dict({name: stored[name] for name in expected})
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model.pretrained: {path} does not hold the network that it describes: {reason}; use another folder"
        ) from error


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published tensors to torchaudio's names; tensors outside the network keep their names."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in RENAMED.items():
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    # In networks with relative positions (WavLM), torchaudio keeps query, key and value in one tensor.
    for constant in [name for name in renamed if name.endswith(".attention.gru_rel_pos_const")]:
        layer = constant.removesuffix("gru_rel_pos_const")
        for kind in ("weight", "bias"):
            if f"{layer}q_proj.{kind}" in renamed:
                parts = [renamed.pop(f"{layer}{part}_proj.{kind}") for part in "qkv"]
                renamed[f"{layer}attention.in_proj_{kind}"] = torch.cat(parts)
                renamed[f"{layer}attention.out_proj.{kind}"] = renamed.pop(f"{layer}out_proj.{kind}")
    return renamed
