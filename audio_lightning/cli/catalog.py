"""``audio-lightning models | features | compatibility``: list models and features, and which can be combined."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio_lightning.cli.completion import ConfigDir, complete_override
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next
from audio_lightning.core.text_tables import Column, print_table, print_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from audio_lightning.classifier.catalog import Cell
    from audio_lightning.core.task import AudioTask, FeatureShape

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Such as data=esc50 data.clip_seconds=1 feature=mfcc.",
        autocompletion=complete_override,
    ),
]
Classes = Annotated[int, typer.Option(min=2, help="Number of classes.")]

_NAME = Column("", whole=True)
PARAMETERS, MACS = (Column(name, "right", whole=True) for name in ("parameters", "MACs"))

BEGIN_WITH = (
    "Start with cnn, which is fast. matchboxnet (words) and panns (other sounds) are more accurate, for two to five "
    "times the training time. The best recipes are experiment=best_speech, best_urbansound and best_instruments."
)
"""Advice from the comparison of architectures under one protocol (``docs/benchmarks``)."""

CLIPS = ("data", "trusted_modules", "hydra")
"""Config groups and keys that describe the clips, or the location of choices."""


@dataclass(frozen=True)
class _Settings:
    """Parsed overrides.

    Attributes:
        features: names of features on the command line.
        models: names of models on the command line.
        keys: all other overrides.
        task: sample rate and length of the clips, and number of classes.
        ensemble: the node ``ensemble``.
    """

    features: list[str]
    models: list[str]
    keys: list[str]
    task: "AudioTask"
    ensemble: dict[str, Any]


Pretrained = Annotated[
    bool,
    typer.Option("--pretrained", help="List the published networks; with names: their layers, licence and citation."),
]


@exits
def models_command(
    overrides: Overrides = None, classes: Classes = 10, config_dir: ConfigDir = None, pretrained: Pretrained = False
) -> None:
    """List the models: input, number of parameters, and multiply-accumulates (MACs) per clip."""
    if pretrained:
        _describe(overrides) if overrides else _published()
        return
    from audio_lightning.classifier.catalog import best_feature, cells
    from audio_lightning.config import choices

    typed = _settings(overrides, classes, "feature", "model", "ensemble")
    rows: list[tuple[str, ...]] = []
    reasons: list[str] = []
    stores: list[str] = []
    for name in typed.models or choices("model"):
        if typed.features:
            found = cells(typed.features, [name], typed.task, typed.keys, ensemble=typed.ensemble)
        else:
            found = iter([best_feature(name, typed.task, typed.keys, ensemble=typed.ensemble)])
        for cell in found:
            if cell.network is None:
                rows.append((name, cell.feature, "-", "-", "-"))
                reasons.append(f"{name}: {cell.reason}")
                continue
            lengths = "yes" if cell.network.accepts_variable_length else "no"
            costs = (f"{cell.parameters:,}", _macs(cell, stores))
            dimensions = str(cell.shape).partition(" ")[2]
            rows.append((name, f"{cell.feature} {dimensions}", *costs, lengths))
    _print((_NAME, Column("on", whole=True), PARAMETERS, MACS, Column("any length")), rows, typed.task)
    for reason in reasons:
        print_text(reason)
    if stores:
        print_text(f"N: number of training clips; {', '.join(dict.fromkeys(stores))} compares a clip with each of them")
    print_text(BEGIN_WITH)
    print_next("python", "sweep.py", "data=folder", "data.root=DIR", "model=cnn,matchboxnet,panns")


def _macs(cell: "Cell", stores: list[str]) -> str:
    """Text of the MACs of a model, which is added to ``stores`` if they depend on the number of training clips."""
    from audio_lightning.models.memory import TrainingMemory

    assert cell.network is not None
    memories = [module for module in cell.network.modules() if isinstance(module, TrainingMemory)]
    if not (each := sum(module.macs_per_stored_clip for module in memories)):
        return f"{cell.macs:,}"
    stores.append(cell.model)
    return f"{cell.macs:,} + {each:,} N" if cell.macs else f"{each:,} N"


@exits
def features_command(overrides: Overrides = None, classes: Classes = 10, config_dir: ConfigDir = None) -> None:
    """List the features: shape and number of values per clip."""
    from audio_lightning.classifier.catalog import cells
    from audio_lightning.config import choices
    from audio_lightning.config.overrides import command_line

    typed = _settings(overrides, classes, "feature")
    rows = []
    for name in typed.features or choices("feature"):
        (cell,) = cells([name], ["cnn"], typed.task, typed.keys)
        values = _values(cell.shape) if cell.shape else "-"
        rows.append((name, str(cell.shape or cell.reason), values))
    _print((_NAME, Column("gives"), Column("values", "right", whole=True)), rows, typed.task)
    print_next("audio-lightning", "compatibility", *command_line(overrides, config_dir))


@exits
def compatibility_command(overrides: Overrides = None, classes: Classes = 10, config_dir: ConfigDir = None) -> None:
    """Show which models and features can be combined, and why the others cannot."""
    from audio_lightning.classifier.catalog import cells
    from audio_lightning.config import choices

    typed = _settings(overrides, classes, "feature", "model")
    names, models = typed.features or choices("feature"), typed.models or choices("model")
    found = {(cell.feature, cell.model): cell for cell in cells(names, models, typed.task, typed.keys)}
    rows = []
    reasons: dict[str, int] = {}
    for model in models:
        marks = []
        for feature in names:
            cell = found[feature, model]
            if cell.reason is None:
                marks.append("ok")
            elif cell.shape is not None and cell.shape.kind != cell.takes:
                marks.append("-")
            else:
                marks.append(str(reasons.setdefault(cell.reason, len(reasons) + 1)))
        rows.append((model, *marks))
    _print((_NAME, *(Column(name, whole=True) for name in names)), rows, typed.task)
    print_text("-: the model needs the other kind of input (waveform or spectrogram)")
    for reason, number in reasons.items():
        print_text(f"{number}: {reason}")
    print_next("python", "sweep.py", "data=folder", "data.root=DIR", "feature=logmel,mfcc", "model=cnn,resnet")


def _published() -> None:
    import torch

    from audio_lightning.models.macs import count_macs
    from audio_lightning.models.pretrained.published_files import MIRROR, PublishedFile
    from audio_lightning.models.pretrained.registry import BACKBONES

    rows = []
    for name, one in BACKBONES.items():
        macs = "-"
        if one.trainable:  # other networks run in another runtime, where MACs cannot be counted
            with torch.device("meta"):
                macs = f"{count_macs(one(one.trained_rate), 1, one.trained_rate):,}"
        rate = f"{one.trained_rate:,} Hz" + (" or any other" if one.any_rate else "")
        here = "yes" if one.file.is_here else "no"
        rows.append((name, one.title, f"{one.num_parameters:,}", macs, rate, one.licence, here))
    figures = (PARAMETERS, Column("MACs of 1 s", "right", whole=True), Column("rate", whole=True), Column("licence"))
    print_table((_NAME, Column("network"), *figures, Column("here")), rows)
    missing = {name: one.file for name, one in BACKBONES.items() if not one.file.is_here}
    for name, file in missing.items():
        if not isinstance(file, PublishedFile):
            print_text(f"{name}: {file.remedy}")
    if sizes := [f"{name} {file.megabytes} MB" for name, file in missing.items() if isinstance(file, PublishedFile)]:
        print_text(f"downloaded at first use, or taken from the folder {MIRROR}: {', '.join(sizes)}")
    print_text(
        "also: a model of the Hugging Face hub, by name or by folder (AST, wav2vec 2.0, HuBERT, WavLM, UniSpeech, "
        "data2vec, SEW, Whisper, CLAP); and FILE.onnx, a network that takes a waveform"
    )
    print_next("python", "train.py", "experiment=frozen", "feature.backbone=cnn10", "data=folder", "data.root=DIR")


def _describe(names: Sequence[str]) -> None:
    """Print details of published networks: input, layers, weights, licence and citation."""
    from audio_lightning.config.suggest import did_you_mean
    from audio_lightning.core.errors import ConfigError
    from audio_lightning.models.pretrained.published_files import PublishedFile
    from audio_lightning.models.pretrained.registry import BACKBONES

    for name in names:
        if name not in BACKBONES:
            known = did_you_mean(name, BACKBONES, listing="published networks")
            raise ConfigError(f"{name}: no such published network{known}")
    for name in names:
        one = BACKBONES[name]
        rates = f"{one.trained_rate:,} Hz" + (", or any other rate" if one.any_rate else "")
        layers = ", ".join(f"{layer} ({width:,})" for layer, width in one.layers.items())
        weights = one.file.url if isinstance(one.file, PublishedFile) else one.file.remedy
        print_text(f"{name}: {one.title}, {one.num_parameters:,} parameters")
        print_text(f"  input: waveform at {rates}, at least {one.least_seconds:g} s")
        print_text(f"  layers (channels): {layers}")
        print_text(f"  weights: {'on this machine' if one.file.is_here else weights}")
        print_text(f"  licence: {one.licence}")
        print_text(f"  citation: {one.citation}")
    print_next(
        "python", "train.py", "experiment=frozen", f"feature.backbone={names[0]}", "data=folder", "data.root=DIR"
    )


def _settings(overrides: list[str] | None, classes: int, *groups: str) -> _Settings:
    """Parse the overrides, and reject keys that cannot change the listing.

    Args:
        overrides: as typed.
        classes: number of classes.
        *groups: config groups that the command depends on, besides :data:`CLIPS`.

    Raises:
        ConfigError: an override of another group.
    """
    from audio_lightning.classifier.catalog import task_of
    from audio_lightning.classifier.factory import check_ensemble
    from audio_lightning.config import compose, quote_paths
    from audio_lightning.core.errors import ConfigError

    named: dict[str, list[str]] = {"feature": [], "model": []}
    keys = []
    for line in quote_paths(overrides or []):
        key, equals, value = line.partition("=")
        group = key.lstrip("+~").partition(".")[0]
        if group == "experiment":
            raise ConfigError(
                f"{line}: a recipe has one model and one feature, but this command compares all; "
                "for clips like its own, give " + _clips(compose([line]))
            )
        if group not in (*CLIPS, *groups):
            listed = ", ".join(("data", *groups[:-1])) + f" and {groups[-1]}"
            raise ConfigError(f"{key}: has no effect on this command; give only keys of {listed}")
        if key in named and equals:
            named[key] = list(dict.fromkeys(name.strip() for name in value.split(",")))
        else:
            keys.append(line)
    config = _compose_any(keys, named)
    clips = [line for line in keys if line.partition("=")[0].partition(".")[0] in CLIPS]
    check_ensemble(config)
    return _Settings(named["feature"], named["model"], keys, task_of(clips, classes), config["ensemble"])


def _compose_any(keys: list[str], named: dict[str, list[str]]) -> "DictConfig":
    """Compose the configuration with the first combination of the named choices that accepts all keys.

    Raises:
        ConfigError: an unknown choice, or keys that no combination accepts.
    """
    from audio_lightning.config import compose
    from audio_lightning.core.errors import ConfigError

    lines = [[f"{group}={name}" for name in names] for group, names in named.items() if names]
    for line in (line for group in lines for line in group):
        compose([line])
    errors = []
    for chosen in product(*lines):
        try:
            return compose([*chosen, *keys])
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _clips(config: "DictConfig") -> str:
    return " ".join(f"data.{key}={config.data[key]}" for key in ("sample_rate", "clip_seconds", "padding"))


def _print(columns: Sequence[Column], rows: Sequence[Sequence[str]], task: "AudioTask") -> None:
    print_table(columns, rows)
    print_text(f"for clips of {task.clip_seconds:g} s at {task.sample_rate:,} Hz and {task.num_classes} classes")


def _values(shape: "FeatureShape") -> str:
    return f"{math.prod(shape.dims):,}"
