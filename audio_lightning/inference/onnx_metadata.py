"""Metadata of exported ONNX files: task, windows and thresholds of the classifier. Needs neither torch nor onnx."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from audio_lightning.audio import Channel, check_channel
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import shortened, to_json
from audio_lightning.core.task import AudioTask, Padding

ONNX_FORMAT: Final = 1
"""Version of the metadata."""

FORMAT_KEY: Final = "audio_lightning_format"

MOST_CLASSES: Final = 20_000
LONGEST_CLIP: Final = 2**24
HIGHEST_RATE: Final = 10**6
LONGEST_HOP: Final = 10**6
"""Upper bounds of values in a file (classes, samples, Hz, seconds), which may be hostile: a batch is held in memory."""

LONGEST_VALUE: Final = 2**22
"""Largest number of characters of a value."""


@dataclass(frozen=True)
class OnnxMetadata:
    """Settings that prediction with an exported graph needs.

    Each attribute is an entry of the file's ``metadata_props``, encoded as JSON; each attribute of ``task`` is an entry
    of its own.

    Attributes:
        task: classes, sample rate, length and padding of the clips, and whether a clip may have several labels.
        version: version of audio-lightning that wrote the file.
        hop_seconds: seconds from the start of one window to the next; None for adjacent windows.
        channel: channel of a recording, see :data:`audio_lightning.audio.channels.Channel`.
        thresholds: minimum probability of each class; None for single-label tasks.
        licence: licence of the model, if it is stated (``model: mit``), and those of the published weights that its
            training started from (``weights of AISFX: CC BY 4.0``).
        measured: measurements of the export, see :mod:`audio_lightning.inference.export.export`.
    """

    task: AudioTask
    version: str
    hop_seconds: float | None = None
    channel: Channel = "mean"
    thresholds: tuple[float, ...] | None = None
    licence: tuple[str, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)

    def to_properties(self) -> dict[str, str]:
        """Encode the entries of a file."""
        values = {
            FORMAT_KEY: ONNX_FORMAT,
            "audio_lightning_version": self.version,
            **self.task.to_dict(),
            "hop_seconds": self.hop_seconds,
            "channel": self.channel,
            "thresholds": self.thresholds,
            "licence": self.licence,
            "measured": self.measured,
        }
        return {name: to_json(value) for name, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], where: str) -> "OnnxMetadata":
        """Decode and validate the entries of a file, which is untrusted.

        Args:
            properties: ``metadata_props`` of the file.
            where: the file, for error messages.

        Raises:
            CheckpointError: entries that are missing, of the wrong type, or out of bounds.
        """
        if FORMAT_KEY not in properties:
            raise CheckpointError(
                f"{where}: not written by audio-lightning export, as its metadata has no classes; export a "
                "checkpoint, or use the file as a feature with feature.backbone=FILE.onnx"
            )
        entries = _Entries(properties, where)
        if (found := entries.value(FORMAT_KEY)) != ONNX_FORMAT:
            raise CheckpointError(
                f"{where}: metadata of format {shortened(found)}, expected {ONNX_FORMAT}; use the version of "
                "audio-lightning that wrote it, or export the checkpoint again"
            )
        classes = entries.texts("classes")
        if not 1 <= len(classes) <= MOST_CLASSES or len(set(classes)) != len(classes):
            raise entries.wrong("classes", f"1 to {MOST_CLASSES:,} different names")
        padding, multilabel = entries.value("padding"), entries.value("multilabel")
        if padding not in get_args(Padding):
            raise entries.wrong("padding", f"one of {', '.join(get_args(Padding))}")
        if not isinstance(multilabel, bool):
            raise entries.wrong("multilabel", "true or false")
        rate, samples = entries.whole("sample_rate", HIGHEST_RATE), entries.whole("num_samples", LONGEST_CLIP)
        channel, version = entries.value("channel"), entries.value("audio_lightning_version")
        try:
            check_channel(channel)
        except ConfigError as error:
            raise CheckpointError(f"{where}: metadata: {error}") from error
        thresholds = entries.numbers("thresholds", 0, 1)
        if (thresholds is not None) != multilabel or (thresholds is not None and len(thresholds) != len(classes)):
            raise entries.wrong("thresholds", "one for each class for multi-label tasks, else null")
        hop = entries.value("hop_seconds")
        if hop is not None and not (_is_number(hop) and 0 < hop <= LONGEST_HOP):
            raise entries.wrong("hop_seconds", "a positive number or null")
        measured = entries.value("measured")
        if not isinstance(version, str) or not isinstance(measured, dict):
            raise entries.wrong("measured, audio_lightning_version", "an object and a text")
        return cls(
            AudioTask(tuple(classes), rate, samples, padding, multilabel),
            version=version,
            hop_seconds=hop,
            channel=channel,
            thresholds=thresholds,
            licence=tuple(entries.texts("licence")),
            measured=measured,
        )


@dataclass(frozen=True)
class _Entries:
    """Typed access to the entries of a file."""

    properties: Mapping[str, str]
    where: str

    def wrong(self, name: str, expected: str) -> CheckpointError:
        found = shortened(self.properties.get(name, "none"))
        return CheckpointError(f"{self.where}: metadata: {name} is {found}, expected {expected}")

    def value(self, name: str) -> Any:
        text = self.properties.get(name, "")
        try:
            if len(text) > LONGEST_VALUE:
                raise ValueError
            return json.loads(text)
        except (ValueError, RecursionError):
            raise self.wrong(name, f"JSON of at most {LONGEST_VALUE:,} characters") from None

    def texts(self, name: str) -> list[str]:
        found = self.value(name)
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise self.wrong(name, "a list of texts")
        return found

    def whole(self, name: str, most: int) -> int:
        found = self.value(name)
        if type(found) is not int or not 1 <= found <= most:
            raise self.wrong(name, f"a whole number from 1 to {most:,}")
        return found

    def numbers(self, name: str, least: float, most: float) -> tuple[float, ...] | None:
        found = self.value(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(_is_number(value) and least <= value <= most for value in found):
            raise self.wrong(name, f"numbers from {least} to {most}, or null")
        return tuple(map(float, found))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
