"""Catalog of models, front ends, augmentations and published networks, computed from the code."""

import inspect
import pkgutil
from importlib import import_module
from typing import Any

from markdown_text import code, first_sentence, plain, table

from audio_lightning import augment
from audio_lightning.augment.base import PairAugmentation, SpectrogramAugmentation, WaveformAugmentation
from audio_lightning.classifier.catalog import best_feature, cells, task_of
from audio_lightning.config import choices
from audio_lightning.core.task import AudioTask

CLIPS = ("data.clip_seconds=1.0", "data.sample_rate=16000")
CLASSES = 10

KINDS = {WaveformAugmentation: "waveform", SpectrogramAugmentation: "spectrogram", PairAugmentation: "pair of clips"}


def page() -> str:
    """Return the Markdown of the page."""
    task = task_of(CLIPS, CLASSES)
    return "\n\n".join(
        [
            INTRODUCTION,
            "## Models",
            "`audio-lightning models` prints this table for your own clips. Parameters and MACs "
            "(multiply-accumulates of one clip) depend on the input, which is the column *on*.",
            _models(task),
            "## Front ends",
            "The shape is `[channels, bins, frames]`, or `[samples]` for the waveform.",
            _features(task),
            "## Augmentations",
            "The groups of `augment=` combine these classes; [the configuration](configuration/augment.md) lists their "
            "options.",
            _augmentations(),
            "## Published networks",
            "`feature.backbone=NAME` names one ([how to use them](../how-to/published.md)).",
            _published(),
        ]
    )


INTRODUCTION = f"""# Catalog

This page is generated from the code, for clips of 1 s at 16 kHz and {CLASSES} classes. Which model accepts which front
end: `audio-lightning compatibility`."""


def _models(task: AudioTask) -> str:
    rows = []
    for name in choices("model"):
        cell = best_feature(name, task)
        link = f"[`{name}`](configuration/model.md#{name})"
        if cell.network is None:
            rows.append((link, "", "", "", plain(cell.reason or "")))
            continue
        about = plain(first_sentence(inspect.getdoc(_architecture(cell.network))))
        rows.append((link, code(cell.feature), f"{cell.parameters:,}", f"{cell.macs:,}", about))
    return table(("Model", "on", "Parameters", "MACs", "Architecture"), rows)


def _architecture(network: Any) -> type:
    members = getattr(network, "members", None)
    return type(members[0] if members else network)


def _features(task: AudioTask) -> str:
    rows = []
    for name in choices("feature"):
        (cell,) = cells([name], ["cnn"], task, ())
        shape = str(list(cell.shape.dims)) if cell.shape else plain(cell.reason or "")
        rows.append((f"[`{name}`](configuration/feature.md#{name})", code(shape) if cell.shape else shape))
    return table(("Front end", "Shape"), rows)


def _augmentations() -> str:
    rows = []
    for module in pkgutil.iter_modules(augment.__path__):
        path = f"audio_lightning.augment.{module.name}"
        for name, cls in vars(import_module(path)).items():
            kind = next((kind for base, kind in KINDS.items() if inspect.isclass(cls) and issubclass(cls, base)), None)
            if kind is None or cls.__module__ != path or module.name == "base" or name.startswith("_"):
                continue
            link = f'<autoref optional identifier="{path}.{name}"><code>{name}</code></autoref>'
            rows.append((link, kind, plain(first_sentence(inspect.getdoc(cls)))))
    return table(("Class", "Changes", "What it does"), rows)


def _published() -> str:
    from audio_lightning.models.pretrained.registry import BACKBONES

    rows = [
        (code(name), plain(one.title), f"{one.num_parameters:,}", f"{one.trained_rate:,} Hz", plain(one.licence))
        for name, one in BACKBONES.items()
    ]
    return table(("Name", "Network", "Parameters", "Sample rate", "Licence of the weights"), rows)
