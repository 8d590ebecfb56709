"""Renamed classes, keys and arguments of earlier versions.

A configuration saved by an earlier version is upgraded when it is read (:func:`upgrade`), and so are the metrics of a
run (:func:`upgrade_metrics`). An old name on the command line is an error whose message has the new name
(:func:`key_now`, :func:`argument_now`). CONTRIBUTING states how long an old name is supported.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_MOVED = {  # package -> module.Class; version 0.1 named each class by its package alone
    "models": (
        "ast.AST bcresnet.BCResNet cnn.CNN cnn_deep.CNNDeep conv1d.Conv1D conv1d_vgg.Conv1DVGG conv2d_vgg.Conv2DVGG "
        "crnn.CRNN dnn.DNN kwt.KWT lstm.LSTM matchboxnet.MatchboxNet panns.PANNs sincnet.SincNet timm.Timm "
        "transformer.Transformer vision.AlexNet vision.DenseNet vision.EfficientNet vision.GoogLeNet vision.MobileNet "
        "vision.ResNet vision.SqueezeNet vision.VGG wav2vec2.Wav2Vec2"
    ),
    "features": (
        "cqt.CQT fbank.FBank flat_spectrogram.FlatSpectrogram lfcc.LFCC log_mel.LogMel log_mel_cqt.LogMelCQT "
        "log_mel_pcen.LogMelPCEN mel.Mel mfcc.MFCC pcen.PCEN spectrogram.Spectrogram waveform.Waveform"
    ),
    "augment": (
        "background_noise.BackgroundNoise between_class.BetweenClass codec.Codec colored_noise.ColoredNoise "
        "cutmix.CutMix filter.Filter frequency_shift.FrequencyShift gain.Gain mixup.Mixup mu_law.MuLaw "
        "polarity.Polarity random_crop.RandomCrop reverberation.Reverberation room_response.RoomResponse "
        "spec_augment.SpecAugment speed.Speed time_shift.TimeShift"
    ),
    "data": (
        "sources.demo.source.Demo sources.esc10.ESC10 sources.esc50.ESC50 sources.folder.Folder "
        "sources.instruments.Instruments sources.speech_commands.SpeechCommands "
        "sources.speech_commands_npz.SpeechCommandsNPZ sources.table.Table sources.urbansound.UrbanSound "
        "sources.urbansound8k.UrbanSound8K"
    ),
}

TARGETS: dict[str, str] = {
    **{
        f"audio_lightning.{package}.{new.rpartition('.')[2]}": f"audio_lightning.{package}.{new}"
        for package, classes in _MOVED.items()
        for new in classes.split()
    },
    "audio_lightning.schedulers.Decay": "audio_lightning.classifier.schedulers.Decay",
    "audio_lightning.schedulers.OneCycle": "torch.optim.lr_scheduler.OneCycleLR",
    "audio_lightning.schedulers.Plateau": "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "audio_lightning.schedulers.WarmupCosine": "audio_lightning.classifier.schedulers.WarmupCosine",
    "audio_lightning.training.loggers.StepLogger": "audio_lightning.loggers.loggers.StepLogger",
    "audio_lightning.training.mlflow.MlflowLogger": "audio_lightning.loggers.mlflow.MlflowLogger",
    "audio_lightning.training.tensorboard.TensorBoardLogger": "audio_lightning.loggers.tensorboard.TensorBoardLogger",
    "audio_lightning.training.wandb.WandbLogger": "audio_lightning.loggers.wandb.WandbLogger",
}
"""New path of each class, by its old path."""

_TRANSFORMER = {"width": "embed_dim", "depth": "num_layers", "heads": "num_heads"}
_GROUPS = {"layers": "num_layers", "hidden": "hidden_dim"}

ARGUMENTS: dict[str, dict[str, str]] = {
    **{f"audio_lightning.models.{name}": _TRANSFORMER for name in ("AST", "Transformer", "Wav2Vec2")},
    **{f"audio_lightning.models.{name}": {"hidden": "hidden_dim"} for name in ("CNN", "PANNs", "SincNet")},
    **{f"audio_lightning.models.{name}": {"hidden": "mlp_dims"} for name in ("CNNDeep", "Conv1D")},
    **{f"audio_lightning.models.{name}": _GROUPS for name in ("CRNN", "Conv1DVGG", "Conv2DVGG")},
    "audio_lightning.models.LSTM": {**_GROUPS, "linear": "mlp_dims"},
    "audio_lightning.models.DNN": {"hidden": "hidden_dims"},
    "audio_lightning.augment.SpecAugment": {
        "frequency_masks": "n_freq_masks",
        "frequency_width": "freq_mask_param",
        "time_masks": "n_time_masks",
        "time_width": "time_mask_param",
    },
    "audio_lightning.schedulers.Decay": {"factor": "gamma"},
    "audio_lightning.schedulers.OneCycle": {
        "rise_fraction": "pct_start",
        "initial_divisor": "div_factor",
        "final_divisor": "final_div_factor",
    },
    "audio_lightning.schedulers.WarmupCosine": {
        "warmup_fraction": "warmup_ratio",
        "final_fraction": "min_lr_ratio",
    },
}
"""New name of each argument, by the old path of its class and its old name."""

ADDED: dict[str, dict[str, Any]] = {
    "audio_lightning.schedulers.OneCycle": {"cycle_momentum": False},
}
"""Arguments that make the new class behave as the old one, by the old path of the class."""

KEYS: dict[str, str] = {
    "room_dir": "rir_dir",
    **{f"cache.{name}": f"data.cache_{name}" for name in ("dir", "max_gb", "dtype", "identity")},
    "trust": "trusted_modules",
    "ensemble": "ensemble.num_members",
    "ensemble_input": "ensemble.inputs",
    "find_lr": "tuner.lr_find",
    "find_batch_size": "tuner.scale_batch_size",
    "max_batch_size": "tuner.max_batch_size",
}
"""New name of each key outside of classes, by its old dotted name; ``ensemble: 4`` became a node of the same name."""

OPTIONS = {"conf_dir": "--config-dir"}
"""Keys that have become options of commands; they are removed from a saved configuration."""

CHOICES: dict[str, str] = {
    "augment=city": "augment=urban_light",
    "augment=notes": "augment=instruments_strong",
    "augment=words": "augment=speech_strong",
}
"""New name of each choice, by its old name."""

METRICS = {
    **{f"clips/{split}": f"num_clips/{split}" for split in ("train", "validation", "test")},
    "groups/test": "num_groups/test",
    "trained_on": "num_train_overlap",
}
"""New names of entries of ``metrics.json``, by their old names."""

NEW_NODES = ("distill", "ensemble", "metrics", "tuner")
"""Nodes that a configuration of an earlier version may lack; they are added empty."""


def upgrade(values: dict[str, Any], *, over_defaults: bool = False) -> list[str]:
    """Replace old names in a configuration, in place.

    Args:
        values: configuration of any version, as plain Python.
        over_defaults: the new names hold default values, which values under the old names replace.

    Returns:
        The replacements, as ``old -> new`` with dotted keys or class paths.
    """
    replaced = []
    for old, new in KEYS.items():
        (parent, _, name), (above, _, last) = old.rpartition("."), new.rpartition(".")
        node = _node(values, parent)
        if node is None or name not in node or (above == old and isinstance(node[name], dict)):
            continue
        value = node.pop(name)
        if (into := _node(values, above, make=True)) is None:  # a damaged file, reported by a later check
            node[name] = value
            continue
        if over_defaults or last not in into:
            into[last] = value
        if parent and not node:
            above, _, last = parent.rpartition(".")
            del _node(values, above)[last]
        replaced.append(f"{old} -> {new}")
    for name, option in OPTIONS.items():
        if name in values:
            del values[name]
            replaced.append(f"{name} -> {option}")
    if "optimizer" in values:
        values.update({name: {} for name in NEW_NODES if name not in values})
    for place, node in list(_targeted(values)):
        target = node["_target_"]
        for old, new in ARGUMENTS.get(target, {}).items():
            if old in node:
                node[new] = node.pop(old)
                replaced.append(f"{place}{old} -> {place}{new}")
        for name, value in ADDED.get(target, {}).items():
            node.setdefault(name, value)
        if target in TARGETS:
            node["_target_"] = TARGETS[target]
            replaced.append(f"{target} -> {TARGETS[target]}")
    return replaced


def upgrade_metrics(values: Mapping[str, Any]) -> dict[str, Any]:
    """Contents of ``metrics.json`` of any version, under the current names."""
    return {METRICS.get(name, name): value for name, value in values.items()}


def key_now(key: str, target: Any) -> str | None:
    """New dotted name of a renamed key; None for any other key.

    ``target`` is the class path of the node that contains the key; None for any class.
    """
    if key in KEYS:
        return KEYS[key]
    node, _, name = key.rpartition(".")
    new = argument_now(target, name)
    return f"{node}.{new}" if new else None


def argument_now(target: Any, name: str) -> str | None:
    """New name of a renamed argument; None for any other argument.

    ``target`` is the path of the class, old or new; None for the first class that had the argument.
    """
    for old, names in ARGUMENTS.items():
        if target in (None, old, TARGETS.get(old)) and name in names:
            return names[name]
    return None


def _node(values: dict[str, Any], key: str, *, make: bool = False) -> Any:
    """The mapping at a dotted key, created if ``make``; None if there is none."""
    node = values
    for name in key.split(".") if key else ():
        inside = node.setdefault(name, {}) if make else node.get(name)
        if not isinstance(inside, dict):
            return None
        node = inside
    return node


def _targeted(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a ``_target_``, with the prefix of its dotted keys."""
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        yield place, node
    inside = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, value in inside:
        yield from _targeted(value, f"{place}{name}.")
