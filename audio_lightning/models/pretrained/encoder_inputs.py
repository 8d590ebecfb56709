"""Inputs of transformers' audio encoders: preprocessing of clips, and arrangement of the outputs over time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.fbank import FBank
from audio_lightning.features.filters import MelFilters
from audio_lightning.features.padding import sound_lengths
from audio_lightning.features.stft import POWER_FLOOR, FrameSettings, PowerSpectrogram

VARIANCE_FLOOR = 1e-7
"""Added to a variance before dividing by its square root."""

SPECIAL_TOKENS = 2
"""Number of special tokens (class and distillation token) before the patches of the Audio Spectrogram Transformer."""

AUDIOSET_MEAN, AUDIOSET_DEVIATION = -4.2677393, 4.5689974


EMBEDDING = "embedding"
"""Name of the layer with one frame that holds the published embedding."""


class EncoderInput(nn.Module, ABC):
    """Base class: input of a family of encoders, computed from clips, and its outputs, arranged over time.

    Args:
        config: description of the network, in the form of transformers.
        given: values of :attr:`defaults` in the published description of the front end.

    Attributes:
        defaults: entries of the published description that are used, with their default values.
        masks_padding: see :class:`Backbone`.
        rate: sample rate of the clips in hertz.
        least_samples: minimum length of a clip in samples for which every layer has an output.
    """

    defaults: ClassVar[Mapping[str, Any]]
    masks_padding: ClassVar[bool] = False
    rate: int
    least_samples: int

    def __init__(self, config: Any, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.rate = given["sampling_rate"]
        if self.rate < 1:
            raise ConfigError(f"a front end of {self.rate} Hz; correct its sampling_rate to a positive number")

    @abstractmethod
    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Tensor]:
        """Compute the arguments of the network's ``forward``."""

    def names(self) -> dict[str, int]:
        """Names of the layers, with the number of channels of each."""
        hidden, count = self.config.hidden_size, self.config.num_hidden_layers
        last = self.config.output_hidden_size if getattr(self.config, "add_adapter", False) else hidden
        return {f"layer{n}": hidden if n < count else last for n in range(count + 1)}

    def layers(self, output: Any, samples: int) -> list[Float[Tensor, "batch channels frames"]]:
        """Arrange the network's output by layer and over time.

        Args:
            output: output of the network, with the input of its first layer and the outputs of all layers.
            samples: length of the clips in samples.
        """
        # The last hidden state is not always the last layer's output: normalization or adapters may follow.
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return [self.over_time(state, samples) for state in states]

    def over_time(
        self, state: Float[Tensor, "batch tokens width"], samples: int
    ) -> Float[Tensor, "batch width frames"]:
        """Arrange the tokens of one layer over time."""
        return state.mT


class Speech(EncoderInput):
    """Waveform input of wav2vec 2.0 and related networks.

    With ``do_normalize``, a clip is normalized to mean 0 and variance 1; padding is excluded from both and becomes 0.
    Networks with layer normalization between the convolutions also exclude padding from attention. Networks with group
    normalization were trained with padding included.
    """

    defaults = MappingProxyType({"sampling_rate": 16_000, "do_normalize": True})
    masks_padding = True

    def __init__(self, config: Any, given: Mapping[str, Any]) -> None:
        super().__init__(config, given)
        self.do_normalize = given["do_normalize"]
        self.masks_attention = getattr(config, "feat_extract_norm", "layer") == "layer"  # always so in data2vec
        frames = getattr(config, "squeeze_factor", 1)  # SEW averages neighbouring frames
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):
            frames = (frames - 1) * stride + kernel
        self.least_samples = frames

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Tensor]:
        """Compute the normalized waveform, and the mask of sound if the network uses one."""
        samples = waveform.shape[-1]
        lengths = sound_lengths(waveform).clamp_min(self.least_samples).clamp_max(samples)[:, None]
        sounds = torch.arange(samples, device=waveform.device) < lengths
        values = waveform * sounds
        if self.do_normalize:
            values = (values - values.sum(1, keepdim=True) / lengths) * sounds
            variance = values.square().sum(1, keepdim=True) / lengths
            values = values / (variance + VARIANCE_FLOOR).sqrt()
        # On the meta device, padding cannot be found; the shapes are the same.
        masked = self.masks_attention and not waveform.is_meta
        return {"input_values": values, "attention_mask": sounds.long()} if masked else {"input_values": values}


class PairedFrames(EncoderInput):
    """Input of wav2vec 2.0 BERT: Kaldi's filter bank of 16-bit samples, normalized in each band, frames in pairs.

    Neighbouring frames are concatenated. Frames that overlap padding are masked; a last frame without a neighbour is
    dropped.
    """

    defaults = MappingProxyType({"sampling_rate": 16_000, "stride": 2})
    masks_padding = True

    def __init__(self, config: Any, given: Mapping[str, Any]) -> None:
        super().__init__(config, given)
        self.stride = given["stride"]
        self.fbank = FBank(
            sample_rate=self.rate,
            num_samples=self.rate,
            n_mels=config.feature_projection_input_dim // self.stride,
            window="povey",
            normalize="none",
        )
        self.window = len(self.fbank.window)
        self.least_frames = max(2, self.stride)  # the variance needs two frames
        self.least_samples = self.window + (self.least_frames - 1) * self.fbank.hop_length

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Tensor]:
        """Compute the frames, ``stride`` concatenated into one, and the mask of frames with sound."""
        energies = self.fbank.compute(waveform * 2**15)[:, 0].mT
        count = energies.shape[1]
        lengths = (sound_lengths(waveform) - self.window).div(self.fbank.hop_length, rounding_mode="floor") + 1
        lengths = lengths.clamp_min(self.least_frames).clamp_max(count)[:, None, None]
        sounds = torch.arange(count, device=waveform.device)[:, None] < lengths
        values = (energies - (energies * sounds).sum(1, keepdim=True) / lengths) * sounds
        variance = values.square().sum(1, keepdim=True) / (lengths - 1)
        values = values / (variance + VARIANCE_FLOOR).sqrt()
        whole = count // self.stride
        inputs = {"input_features": values[:, : whole * self.stride].unflatten(1, (whole, self.stride)).flatten(2)}
        if not waveform.is_meta:
            parts = torch.arange(whole, device=waveform.device) < lengths[:, :, 0] // self.stride
            inputs["attention_mask"] = parts.long()
        return inputs


class Patches(EncoderInput):
    """Input of the Audio Spectrogram Transformer: Kaldi's filter bank, with a fixed number of frames.

    The network's position embeddings fix the number of frames: short clips are padded with zeros, long ones are cut.
    The output for the padding is dropped. A layer is the mean of its patches over the frequencies. ``embedding`` is the
    published embedding, the mean of the two special tokens.
    """

    defaults = MappingProxyType(
        {"sampling_rate": 16_000, "do_normalize": True, "mean": AUDIOSET_MEAN, "std": AUDIOSET_DEVIATION}
    )

    def __init__(self, config: Any, given: Mapping[str, Any]) -> None:
        super().__init__(config, given)
        normalize = given["do_normalize"]
        self.mean = float(given["mean"]) if normalize else 0.0
        self.deviation = float(given["std"]) if normalize else 0.5
        self.fbank = FBank(
            sample_rate=self.rate,
            num_samples=self.rate,
            n_mels=config.num_mel_bins,
            min_frames=config.max_length,
            normalize="none",
        )
        self.least_samples = len(self.fbank.window)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Tensor]:
        """Compute the normalized spectrogram."""
        return {"input_values": self.spectrogram(waveform)}

    def spectrogram(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frames bands"]:
        """Compute log energies minus their mean, divided by twice their standard deviation, padding included."""
        energies = self.fbank.compute(waveform)[:, 0, :, : self.config.max_length]
        return ((energies - self.mean) / (2 * self.deviation)).mT

    def frames(self, samples: int) -> int:
        """Number of frames of a clip of ``samples`` samples, before padding and cutting."""
        return max(0, samples - len(self.fbank.window)) // self.fbank.hop_length + 1

    def names(self) -> dict[str, int]:
        """Names of the layers, with the number of channels of each."""
        return {**super().names(), EMBEDDING: self.config.hidden_size}

    def layers(self, output: Any, samples: int) -> list[Float[Tensor, "batch channels frames"]]:
        """See :meth:`EncoderInput.layers`."""
        return [*super().layers(output, samples), output.pooler_output.unsqueeze(2)]

    def over_time(
        self, state: Float[Tensor, "batch tokens width"], samples: int
    ) -> Float[Tensor, "batch width frames"]:
        """Average over the frequencies, and drop the frames of the padding."""
        patch, stride = self.config.patch_size, self.config.time_stride
        rows = (self.config.num_mel_bins - patch) // self.config.frequency_stride + 1
        patches = state[:, SPECIAL_TOKENS:].unflatten(1, (rows, -1))
        return patches.mean(1).mT[..., : -(-self.frames(samples) // stride)]


class _Mel(EncoderInput):
    """Base class of inputs with power in bands of Slaney's mel scale; clips are padded by reflection at both ends."""

    weights: Tensor

    def __init__(self, config: Any, given: Mapping[str, Any], n_fft: int, f_min: float, f_max: float) -> None:
        super().__init__(config, given)
        self.hop = given["hop_length"]
        frames = FrameSettings(n_fft / self.rate, self.hop / self.rate, n_fft)
        self.power = PowerSpectrogram(self.rate, frames, center=False)
        weights = MelFilters(self.rate, config.num_mel_bins, f_min, f_max, "slaney", "slaney").weights(n_fft).T
        self.register_buffer("weights", weights.contiguous().to(self.power.window.device), persistent=False)

    def decibels(self, clips: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bands frames"]:
        """Compute the level of the bands in units of 10 dB."""
        half = self.power.n_fft // 2
        power = self.power(functional.pad(clips, (half, half), "reflect"))[..., : clips.shape[-1] // self.hop + 1]
        return (self.weights @ power).clamp_min(POWER_FLOOR).log10()


class WhisperMel(_Mel):
    """Input of Whisper: a spectrogram of 30 s; short clips are padded with zeros, long ones are cut.

    Values are clipped 80 dB below the maximum. The output for the padding is dropped.
    """

    defaults = MappingProxyType({"sampling_rate": 16_000, "hop_length": 160, "n_fft": 400})

    def __init__(self, config: Any, given: Mapping[str, Any]) -> None:
        super().__init__(config, given, given["n_fft"], 0.0, 8000.0)
        self.samples = 2 * config.max_source_positions * self.hop
        self.least_samples = self.hop

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Tensor]:
        """Compute the spectrogram."""
        clips = waveform[:, : self.samples]
        levels = self.decibels(functional.pad(clips, (0, self.samples - clips.shape[-1])))[..., :-1]
        return {"input_features": torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8) / 4 + 1}

    def names(self) -> dict[str, int]:
        """Names of the layers, with the number of channels of each."""
        return {f"layer{n}": self.config.d_model for n in range(self.config.encoder_layers + 1)}

    def over_time(
        self, state: Float[Tensor, "batch tokens width"], samples: int
    ) -> Float[Tensor, "batch width frames"]:
        """Arrange one layer over time, and drop the frames of the padding."""
        return state.mT[..., : -(-samples // (2 * self.hop))]


class ClapMel(_Mel):
    """Input of CLAP: a spectrogram of 10 s; short clips are repeated as often as they fit, then padded with zeros.

    Long clips are cut to their first 10 s; transformers chooses a part at random instead. The number of channels
    doubles from stage to stage. The mean of the last layer over time is what CLAP projects into its joint space with
    texts.
    """

    defaults = MappingProxyType(
        {
            "sampling_rate": 48_000,
            "hop_length": 480,
            "max_length_s": 10,
            "fft_window_size": 1024,
            "frequency_min": 0.0,
            "frequency_max": 14_000.0,
            "padding": "repeatpad",
        }
    )

    def __init__(self, config: Any, given: Mapping[str, Any]) -> None:
        if config.enable_fusion:
            raise ConfigError("its fusion uses random parts of a clip; use laion/clap-htsat-unfused, which has none")
        super().__init__(config, given, given["fft_window_size"], given["frequency_min"], given["frequency_max"])
        self.samples = given["max_length_s"] * self.rate
        self.padding = given["padding"]
        self.ratio = config.spec_size // config.num_mel_bins
        self.least_samples = self.hop

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Tensor]:
        """Compute the spectrogram, frames by bands."""
        clips = waveform[:, : self.samples]
        fits = self.samples // clips.shape[-1]
        repeats = {"repeatpad": fits, "repeat": fits + 1}.get(self.padding, 1)
        clips = clips.repeat(1, repeats)[:, : self.samples]
        levels = self.decibels(functional.pad(clips, (0, self.samples - clips.shape[-1])))
        return {"input_features": 10 * levels.mT.unsqueeze(1)}

    def names(self) -> dict[str, int]:
        """Names of the layers, with the number of channels of each."""
        stages = len(self.config.depths)
        width = self.config.patch_embeds_hidden_size
        return {f"layer{n}": width * 2 ** min(n, stages - 1) for n in range(stages + 1)}

    def layers(self, output: Any, samples: int) -> list[Float[Tensor, "batch channels frames"]]:
        """Average over the frequencies; the network stacks parts of a clip along the frequency axis."""
        parts = [state.unflatten(2, (self.ratio, -1)) for state in output.hidden_states[:-1]]
        return [*(part.mean(3).flatten(2) for part in parts), output.last_hidden_state.mean(2)]
