"""Audio encoders of the package transformers, from a folder or from the Hugging Face hub."""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.hub import CONFIG, read_object, read_preprocessor, read_weights
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors
from audio_lightning.models.pretrained.encoder_inputs import (
    EMBEDDING,
    ClapMel,
    EncoderInput,
    PairedFrames,
    Patches,
    Speech,
    WhisperMel,
)
from audio_lightning.models.pretrained.hub_files import OPTION, HubFolder


@dataclass(frozen=True)
class Family:
    """Family of networks with the same class in transformers.

    Attributes:
        title: display name.
        network: name of the class in transformers.
        citation: publication that describes the family.
        front_end: class of the family's input.
        prefix: regular expression of optional prefixes of the published tensor names.
        module: module of the class.
    """

    title: str
    network: str
    citation: str
    front_end: type[EncoderInput] = Speech
    prefix: str = r"(wav2vec2(_bert)?|hubert|wavlm|unispeech(_sat)?|data2vec_audio|sew(_d)?)\."
    module: str = "transformers"


_SEW = (
    "Wu, F., Kim, K., Pan, J., Han, K. J., Weinberger, K. Q., & Artzi, Y. (2022). Performance-Efficiency Trade-offs in "
    "Unsupervised Pre-training for Speech Recognition. ICASSP, 7667-7671"
)
_CLAP = Family(
    "CLAP",
    "ClapAudioModel",
    "Wu, Y., Chen, K., Zhang, T., Hui, Y., Berg-Kirkpatrick, T., & Dubnov, S. (2023). Large-Scale Contrastive "
    "Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation. ICASSP",
    ClapMel,
    r"(clap\.)?audio_model\.",
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "audio-spectrogram-transformer": Family(
            "Audio Spectrogram Transformer",
            "ASTModel",
            "Gong, Y., Chung, Y.-A., & Glass, J. (2021). AST: Audio Spectrogram Transformer. Interspeech, 571-575",
            Patches,
            r"audio_spectrogram_transformer\.",
        ),
        "clap": _CLAP,
        "clap_audio_model": _CLAP,
        "data2vec-audio": Family(
            "data2vec",
            "Data2VecAudioModel",
            "Baevski, A., Hsu, W.-N., Xu, Q., Babu, A., Gu, J., & Auli, M. (2022). data2vec: A General Framework for "
            "Self-supervised Learning in Speech, Vision and Language. ICML, 1298-1312",
        ),
        "hubert": Family(
            "HuBERT",
            "HubertModel",
            "Hsu, W.-N., Bolte, B., Tsai, Y.-H. H., Lakhotia, K., Salakhutdinov, R., & Mohamed, A. (2021). HuBERT: "
            "Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units. IEEE/ACM "
            "Transactions on Audio, Speech, and Language Processing, 29, 3451-3460",
        ),
        "sew": Family("SEW", "SEWModel", _SEW),
        "sew-d": Family("SEW-D", "SEWDModel", _SEW),
        "unispeech": Family(
            "UniSpeech",
            "UniSpeechModel",
            "Wang, C., Wu, Y., Qian, Y., Kumatani, K., Liu, S., Wei, F., Zeng, M., & Huang, X. (2021). UniSpeech: "
            "Unified Speech Representation Learning with Labeled and Unlabeled Data. ICML, 10937-10947",
        ),
        "unispeech-sat": Family(
            "UniSpeech-SAT",
            "UniSpeechSatModel",
            "Chen, S., Wu, Y., Wang, C., Chen, Z., Chen, Z., Liu, S., Wu, J., Qian, Y., Wei, F., Li, J., & Yu, X. "
            "(2022). UniSpeech-SAT: Universal Speech Representation Learning with Speaker Aware Pre-Training. ICASSP, "
            "6152-6156",
        ),
        "wav2vec2": Family(
            "wav2vec 2.0",
            "Wav2Vec2Model",
            "Baevski, A., Zhou, Y., Mohamed, A., & Auli, M. (2020). wav2vec 2.0: A Framework for Self-Supervised "
            "Learning of Speech Representations. NeurIPS, 33, 12449-12460",
        ),
        "wav2vec2-bert": Family(
            "wav2vec 2.0 BERT",
            "Wav2Vec2BertModel",
            "Seamless Communication (2023). Seamless: Multilingual Expressive and Streaming Speech Translation. "
            "arXiv 2312.05187",
            PairedFrames,
        ),
        "wavlm": Family(
            "WavLM",
            "WavLMModel",
            "Chen, S., et al. (2022). WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech "
            "Processing. IEEE Journal of Selected Topics in Signal Processing, 16(6), 1505-1518",
        ),
        "whisper": Family(
            "Whisper",
            "WhisperEncoder",
            "Radford, A., Kim, J. W., Xu, T., Brockman, G., McLeavey, C., & Sutskever, I. (2023). Robust Speech "
            "Recognition via Large-Scale Weak Supervision. ICML, 28492-28518",
            WhisperMel,
            r"(model\.)?encoder\.",
            "transformers.models.whisper.modeling_whisper",
        ),
    }
)  # fmt: skip
"""Families by the ``model_type`` of their descriptions."""

LEFT_OUT = frozenset(
    {
        "architectures", "attn_implementation", "auto_map", "dtype", "experts_implementation", "gradient_checkpointing",
        "id2label", "label2id", "name_or_path", "num_labels", "output_attentions", "output_hidden_states",
        "per_layer_config", "problem_type", "quantization_config", "return_dict", "task_specific_params", "torch_dtype",
        "torchscript", "transformers_version",
    }
)  # fmt: skip
"""Entries of a description that concern its head, the way it is run, or code to download; they are ignored."""

WHOLE: Mapping[str, Any] = MappingProxyType(
    {
        "apply_spec_augment": False,
        "encoder_layerdrop": 0.0,
        "layerdrop": 0.0,
        "mask_feature_prob": 0.0,
        "mask_time_prob": 0.0,
    }
)
"""Overrides that keep all layers and all frames in training, because every layer is used and clips are short."""

_Replacement = str | Callable[[re.Match[str]], str]

RENAMED: Mapping[str, _Replacement] = {
    r"\.weight_g$": ".parametrizations.weight.original0",
    r"\.weight_v$": ".parametrizations.weight.original1",
}
"""Regular expressions of older tensor names, and their current names."""

RENAMED_AST: Mapping[str, _Replacement] = {
    r"^encoder\.layer\.": "layers.",
    r"\.attention\.attention\.(query|key|value)\.": lambda match: f".attention.{match[1][0]}_proj.",
    r"\.attention\.output\.dense\.": ".attention.o_proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
}
"""Further renamed tensors of the Audio Spectrogram Transformer, in order of application."""


class TransformersEncoder(Backbone):
    """Audio encoder of transformers, with a front end equivalent to the published one.

    ``layer0`` is the input of the first transformer layer; the others are the outputs of the layers, and the last one
    is the output of the network. Layers of the Audio Spectrogram Transformer and of CLAP are means over frequency; the
    former has an additional layer, ``embedding``.

    Only code of the installed package runs; no code is downloaded, and nothing in the weights is executed.

    Args:
        sample_rate: rate of the waveforms in hertz; see :attr:`trained_rate`.
        source: folder in the layout of the Hugging Face hub, or name on it, such as ``facebook/hubert-base-ls960``;
            None if the weights come from a checkpoint.
        architecture: None, or the :attr:`architecture` of such a network, from which it is built without the folder.

    Raises:
        ConfigError: transformers is not installed; or the source is not available, or is of another kind.
    """

    any_rate = False
    licence = "see the model's page"

    def __init__(self, sample_rate: int, source: str | None, architecture: Mapping[str, Any] | None = None) -> None:
        super().__init__(sample_rate)
        self.file = HubFolder(source)
        if architecture is None:
            architecture = read_encoder(self.file.path())
        self.architecture = architecture
        try:
            described, given = kept(dict(architecture["config"])), architecture["preprocessor"]
            self.family = FAMILIES[described.pop("model_type")]
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{OPTION}: the architecture does not describe an audio encoder: {error!r:.200}; use another checkpoint"
            ) from error
        self.network, self.front_end = _build(self.family, described, given)
        self.title, self.citation = self.family.title, self.family.citation
        self.trained_rate = self.front_end.rate
        self.least_seconds = self.front_end.least_samples / self.trained_rate
        self.masks_padding = self.front_end.masks_padding
        self.num_parameters = sum(parameter.numel() for parameter in self.network.parameters())
        self.layers = self.front_end.names()
        self.single = frozenset(self.layers.keys() & {EMBEDDING})

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the hidden states of the transformer over time."""
        with warnings.catch_warnings():
            # WavLM passes torch a boolean mask together with a floating-point one.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
            with full_precision(waveform):
                inputs = self.front_end(waveform)
            output = self.network(**inputs, output_hidden_states=True, return_dict=True)
        return dict(zip(self.layers, self.front_end.layers(output, waveform.shape[-1]), strict=True))

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        device = next(self.network.parameters()).device
        stored = read_weights(self.file.path(), device, OPTION)
        load_tensors(self.network, from_published(stored, self.family), self.file, self.title)


def encoder_rate(source: str) -> int:
    """Return the sample rate in hertz that an audio encoder accepts.

    Raises:
        ConfigError: see :class:`TransformersEncoder`.
    """
    return int(read_encoder(HubFolder(source).path())["preprocessor"]["sampling_rate"])


def read_encoder(folder: Path) -> dict[str, Any]:
    """Read the description of a network and of its front end, as plain containers.

    Raises:
        ConfigError: the description is missing or damaged, or of a network of another kind.
    """
    described = read_object(folder / CONFIG, OPTION)
    kind = described.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ConfigError(
            f"{OPTION}: {folder / CONFIG} has model_type={kind!r}, expected one of: {', '.join(FAMILIES)}; or, for a "
            "network of timm, an architecture and no model_type"
        )
    if isinstance(nested := described.get("audio_config"), dict):
        described = nested
    stored, given = read_preprocessor(folder, OPTION), {}
    for name, default in FAMILIES[kind].front_end.defaults.items():
        given[name] = value = stored.get(name, default)
        if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
            raise ConfigError(
                f"{OPTION}: the front end in {folder} has {name}={value!r}, expected one like {default!r}; correct it"
            )
    return {"config": {**kept(described), "model_type": kind}, "preprocessor": given}


def kept(described: Mapping[str, Any]) -> dict[str, Any]:
    """Select the entries of a description, possibly from another author, that define how the network is built."""
    return {name: value for name, value in described.items() if name not in LEFT_OUT and not str(name).startswith("_")}


def from_published(stored: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Rename published tensors to the network's own names; tensors outside the network keep their names."""
    replacements = {**RENAMED, **(RENAMED_AST if family.front_end is Patches else {})}
    found = {}
    for name, tensor in stored.items():
        name = re.sub(f"^{family.prefix}", "", name)
        for pattern, replacement in replacements.items():
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


def _build(family: Family, described: dict[str, Any], given: Mapping[str, Any]) -> tuple[torch.nn.Module, EncoderInput]:
    """Build the network with random weights, and its front end."""
    try:
        network = getattr(import_module(family.module), family.network)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{OPTION}: {family.title} needs the package transformers; pip install transformers"
        ) from error
    try:
        built = network(network.config_class.from_dict({**described, **WHOLE}))
        if hasattr(built, "masked_spec_embed"):  # UniSpeech-SAT has it even if no frame is masked
            del built.masked_spec_embed
        return built, family.front_end(built.config, given)
    except Exception as error:  # transformers' validation has exceptions of its own, and not all sizes are validated
        reason = " ".join((str if isinstance(error, ConfigError) else repr)(error).split())[:250]
        raise ConfigError(f"{OPTION}: this {family.title} cannot be used: {reason}; use another network") from error
