"""wav2vec 2.0 and HuBERT: convolutions and a transformer on the waveform, pretrained on speech without labels."""

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchaudio.models import wav2vec2_model

from audio_lightning.errors import ConfigError
from audio_lightning.models.base import AudioModel
from audio_lightning.models.hub import check_sizes, hub_folder, read_config, read_weights
from audio_lightning.task import FeatureShape

KERNELS_AND_STRIDES = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
"""The convolutions of the feature encoder: a frame of 400 samples every 320."""

RENAMED = {
    r"^(wav2vec2|hubert)\.": "",
    r"^feature_projection\.": "encoder.feature_projection.",
    r"^encoder\.(?!feature_projection\.)": "encoder.transformer.",
    r"\.conv\.weight_g$": ".conv.parametrizations.weight.original0",
    r"\.conv\.weight_v$": ".conv.parametrizations.weight.original1",
}
"""Published names, and torchaudio's, in the order of replacement."""


class Wav2Vec2(AudioModel):
    """Base networks of wav2vec 2.0 and HuBERT (Baevski et al. 2020, arXiv 2006.11477; Hsu et al. 2021, 2106.07447).

    The classifier is that of SUPERB (Yang et al. 2021, arXiv 2105.01051): a learned weighted sum of the layers, a
    linear projection, which is the embedding behind the mean over time, and a linear layer. The defaults make a small
    network for training from scratch; the published ones have width 768, depth 12, heads 12 and channels 512.

    Args:
        input_shape: shape of the waveform, of which the channels are averaged. The published weights expect 16 kHz and
            clips of mean 0 and standard deviation 1.
        num_classes: number of logits.
        width: channels of the transformer.
        depth: layers of the transformer.
        heads: attention heads of a layer.
        channels: channels of the convolutions.
        projection: size of the embedding.
        dropout: probability of dropping an activation.
        freeze_convolutions: whether the convolutions keep the weights they begin with, as is usual in fine-tuning.
        pretrained: null, a folder in the layout of the Hugging Face hub, or a name there, such as
            ``facebook/wav2vec2-base`` or ``facebook/hubert-base-ls960``.

    Raises:
        IncompatibleInput: the input is no waveform, or shorter than one frame.
        ConfigError: heads that do not divide the width; weights that cannot be had, or are of another network.
    """

    input_kind = "waveform"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        width: int = 192,
        depth: int = 4,
        heads: int = 3,
        channels: int = 128,
        projection: int = 256,
        dropout: float = 0.1,
        freeze_convolutions: bool = False,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(400,))
        if width % heads or width % 16:
            raise ConfigError(f"wav2vec2 needs a width that 16 and its {heads} heads divide, got width={width}")
        if pretrained is True:
            raise ConfigError("model.pretrained=true: there are several; name one, such as facebook/wav2vec2-base")
        self.backbone = wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[(channels, kernel, stride) for kernel, stride in KERNELS_AND_STRIDES],
            extractor_conv_bias=False,
            encoder_embed_dim=width,
            encoder_projection_dropout=dropout,
            encoder_pos_conv_kernel=128,
            encoder_pos_conv_groups=16,
            encoder_num_layers=depth,
            encoder_num_heads=heads,
            encoder_attention_dropout=dropout,
            encoder_ff_interm_features=4 * width,
            encoder_ff_interm_dropout=dropout,
            encoder_dropout=dropout,
            encoder_layer_norm_first=False,
            # A layer that is left out in a step gives the weighted sum nothing to weight.
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        self.layer_weights = nn.Parameter(torch.zeros(depth))
        self.project = nn.Linear(width, projection)
        self.embedding_dim = projection
        self.head = nn.Linear(projection, num_classes)
        if pretrained:
            sizes = {"width": width, "depth": depth, "heads": heads, "channels": channels}
            self._load(str(pretrained), sizes)
        self.backbone.feature_extractor.requires_grad_(not freeze_convolutions)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Mean over time of the projected sum of the layers."""
        layers, _ = self.backbone.extract_features(x.mean(1))
        weighted = torch.einsum("l,lbtw->btw", self.layer_weights.softmax(0), torch.stack(layers))
        return self.project(weighted).mean(1)

    def _load(self, pretrained: str, sizes: Mapping[str, int]) -> None:
        folder = hub_folder(pretrained)
        config = read_config(folder)
        kind = config.get("model_type")
        is_large = config.get("feat_extract_norm", "group") != "group" or config.get("do_stable_layer_norm")
        if kind not in ("wav2vec2", "hubert") or is_large:  # the large ones normalize in other places
            raise ConfigError(
                f"model.pretrained: {folder} holds a {'large' if is_large else 'network of type'} {kind}, "
                "expected a base network of wav2vec2 or hubert"
            )
        config["channels"] = next(iter(config.get("conv_dim", ())), None)
        names = {"width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads"}
        check_sizes(folder, config, {option: (names.get(option, option), size) for option, size in sizes.items()})
        if self.layer_weights.is_meta:  # only shapes are asked for
            return
        expected = self.backbone.state_dict().keys()
        stored = from_published(read_weights(folder))
        try:
            self.backbone.load_state_dict({name: stored[name] for name in expected})
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"model.pretrained: {folder} holds no base network of wav2vec 2.0 or HuBERT: {reason}"
            ) from error


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchaudio's names; what is no part of the network keeps its own."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in RENAMED.items():
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
