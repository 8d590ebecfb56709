"""Audio Spectrogram Transformer: self-attention over overlapping patches of a spectrogram."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.hub import check_sample_rate, hub_folder, read_architecture, read_sample_rate, read_weights
from audio_lightning.models.layers import transformer_encoder

SPECIAL_TOKENS = 2
"""Number of special tokens, the class token and DeiT's distillation token; their mean is the embedding."""

DEIT_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "patch_size": 16,
    "frequency_stride": 10,
    "time_stride": 10,
    "layer_norm_eps": 1e-12,
    "num_mel_bins": 128,
    "max_length": 1024,
}
"""Architecture of the published network, with the keys of its ``config.json`` on the Hugging Face hub."""

ONLY: dict[str, tuple[Any, ...]] = {
    "model_type": ("audio-spectrogram-transformer",),
    "hidden_act": ("gelu",),
    "qkv_bias": (True,),
}
"""Values of ``config.json`` that are supported."""

RENAMED = {
    r"^audio_spectrogram_transformer\.": "",
    r"^embeddings\.cls_token$": "class_token",
    r"^embeddings\.distillation_token$": "distillation_token",
    r"^embeddings\.position_embeddings$": "positions",
    r"^embeddings\.patch_embeddings\.projection\.": "patches.",
    r"^layernorm\.": "norm.",
    r"^encoder\.layer\.": "layers.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.attention\.(attention\.query|q_proj)\.": ".query.",
    r"\.attention\.(attention\.key|k_proj)\.": ".key.",
    r"\.attention\.(attention\.value|v_proj)\.": ".value.",
    r"\.attention\.(output\.dense|o_proj)\.": ".self_attn.out_proj.",
    r"\.(intermediate\.dense|mlp\.fc1)\.": ".linear1.",
    r"\.(output\.dense|mlp\.fc2)\.": ".linear2.",
}
"""Regular expressions of tensor names in transformers 4 and 5, and their replacements, in order of application."""


class AST(AudioModel):
    """Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778).

    Position embeddings are learned for the grid of patches of ``input_shape``. To fit published embeddings to this
    grid, or learned ones to clips of another length, they are cropped to the middle or interpolated, see
    :func:`fit_positions`. The defaults are the sizes of DeiT-tiny. The published weights have the sizes of DeiT-base:
    ``embed_dim`` 768, 12 layers, 12 heads.

    Args:
        input_shape: shape of the spectrogram; the published weights expect ``(log-mel energies of Kaldi - mean) /
            (2 standard deviations)`` with 128 bins.
        num_classes: number of logits.
        embed_dim: size of a token.
        num_layers: number of layers.
        num_heads: attention heads of a layer.
        stride: bins and frames from one patch of 16 x 16 to the next.
        dropout: dropout probability; 0 in the paper.
        pretrained: None, a folder in the layout of the Hugging Face hub, or a name on the hub, such as
            ``MIT/ast-finetuned-audioset-10-10-0.4593``. The architecture of the weights replaces the four options
            from ``embed_dim`` to ``stride``.
        architecture: None, or the architecture with the keys of :data:`DEIT_BASE`, which replaces those four options.
            Checkpoints store the architecture of published weights here, so that they load without the published files.

    Attributes:
        inferred_options: options derived from ``pretrained``.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is smaller than a patch.
        ConfigError: ``num_heads`` does not divide ``embed_dim``; or the weights are not available, belong to another
            network, or were trained at another sample rate.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.ast import AST
        >>> model = AST(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10, num_layers=2)
        >>> model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        embed_dim: int = 192,
        num_layers: int = 12,
        num_heads: int = 3,
        stride: int = 10,
        dropout: float = 0.0,
        pretrained: bool | str | None = None,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        folder = None
        if pretrained is True:
            raise ConfigError(
                "model.pretrained=true: several weights are published; name one, such as "
                "MIT/ast-finetuned-audioset-10-10-0.4593"
            )
        if pretrained:
            folder = hub_folder(str(pretrained))
            architecture = read_architecture(folder, DEIT_BASE, ONLY, expected="an Audio Spectrogram Transformer")
        elif architecture is None:
            if embed_dim % num_heads:
                raise ConfigError(
                    f"ast needs an embed_dim that num_heads divides, got {embed_dim} and {num_heads}; "
                    "use embed_dim=192 and num_heads=3, for example"
                )
            architecture = {
                **DEIT_BASE,
                "hidden_size": embed_dim,
                "num_hidden_layers": num_layers,
                "num_attention_heads": num_heads,
                "intermediate_size": 4 * embed_dim,
                "frequency_stride": stride,
                "time_stride": stride,
            }
        width, eps = architecture["hidden_size"], architecture["layer_norm_eps"]
        patch_size = architecture["patch_size"]
        super().__init__(input_shape, num_classes, minimum_input=(patch_size, patch_size))
        if folder is not None:
            check_sample_rate(pretrained, read_sample_rate(folder), input_shape)
        self.inferred_options = {"architecture": architecture} if pretrained else {}
        strides = architecture["frequency_stride"], architecture["time_stride"]
        self.patches = nn.Conv2d(input_shape.channels, width, patch_size, strides)
        self.grid = self._grid(*input_shape.dims[1:])
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.distillation_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, SPECIAL_TOKENS + self.grid[0] * self.grid[1], width))
        for parameter in (self.class_token, self.distillation_token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.layers = nn.Sequential(
            *transformer_encoder(
                architecture["num_hidden_layers"],
                width,
                architecture["num_attention_heads"],
                dim_feedforward=architecture["intermediate_size"],
                dropout=dropout,
                layer_norm_eps=eps,
            )
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        self.embedding_dim = width
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_classes))
        if folder is not None:
            self._load(folder, self._grid(architecture["num_mel_bins"], architecture["max_length"]))

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Average the class token and the distillation token after the last layer."""
        special = torch.cat([self.class_token, self.distillation_token], dim=1).expand(x.shape[0], -1, -1)
        tokens = torch.cat([special, self.patches(x).flatten(2).mT], dim=1)
        tokens = tokens + fit_positions(self.positions, self.grid, self._grid(*x.shape[2:]))
        return self.norm(self.layers(tokens)[:, :SPECIAL_TOKENS]).mean(1)

    def _grid(self, bins: int, frames: int) -> tuple[int, int]:
        """Number of patches over frequency and over time."""
        patch, strides = self.patches.kernel_size[0], self.patches.stride
        return (bins - patch) // strides[0] + 1, (frames - patch) // strides[1] + 1

    def _load(self, folder: Path, published: tuple[int, int]) -> None:
        """Load all weights except the head's; fit the positions to the grid, and the patches to the channels.

        On the meta device everything is checked but nothing is loaded.
        """
        stored = read_weights(folder, self.positions.device)
        try:
            state = from_published(stored)
            state["positions"] = fit_positions(state["positions"], published, self.grid)
            state["patches.weight"] = state["patches.weight"].expand_as(self.patches.weight) / self.input_shape.channels
            missing, unexpected = self.load_state_dict(state, strict=False)
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"model.pretrained: {folder} does not hold the network that it describes: {reason}; use another folder"
            ) from error
        if unexpected or any(not name.startswith("head.") for name in missing):
            names = ", ".join((*unexpected, *missing)[:3])
            raise ConfigError(
                f"model.pretrained: {folder} contains no AST: missing or unknown are {names}...; use another folder"
            )


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published tensors to this module's names, and drop the published head."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in RENAMED.items():
            name = re.sub(pattern, replacement, name)
        if not name.startswith("classifier."):
            renamed[name] = tensor
    for name in [name for name in renamed if ".query." in name]:
        parts = [renamed.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        renamed[name.replace(".query.", ".self_attn.in_proj_")] = torch.cat(parts)
    return renamed


def fit_positions(
    positions: Float[Tensor, "1 tokens width"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "1 fitted width"]:
    """Fit position embeddings to another grid of patches; the embeddings of special tokens stay.

    As in the authors' ``ast_models.py``: an axis that does not grow is cropped to its middle, which keeps the distance
    between neighbours; an axis that grows is interpolated.
    """
    if old == new:
        return positions
    special, patches = positions[:, :SPECIAL_TOKENS], positions[:, SPECIAL_TOKENS:]
    grid = patches.mT.unflatten(2, old)
    for axis, (had, wanted) in enumerate(zip(old, new), start=2):
        if wanted < had:
            grid = grid.narrow(axis, had // 2 - wanted // 2, wanted)
    if grid.shape[2:] != new:
        grid = functional.interpolate(grid, new, mode="bilinear", align_corners=False)
    return torch.cat([special, grid.flatten(2).mT], dim=1)
