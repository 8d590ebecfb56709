"""Exported ONNX classifiers: loading and prediction with ONNX Runtime, without torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audio_lightning.core.cores import at_most_set, cores
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import open_regular
from audio_lightning.core.onnx_session import one_line, open_session
from audio_lightning.core.task import UNKNOWN, AudioTask
from audio_lightning.inference.onnx_metadata import OnnxMetadata

SUFFIX = ".onnx"

INPUT, OUTPUT = "waveform", "probabilities"
"""Names of the input, float32 ``[batch, samples]``, and of the output, float32 ``[batch, classes]``."""

MOST_BYTES = 2**31 - 1
"""Largest file: the limit of protocol buffers."""


def is_onnx(path: Path) -> bool:
    """Return whether a path has the suffix of an ONNX file."""
    return path.suffix.lower() == SUFFIX


class OnnxModel:
    """Classifier that runs an exported graph with ONNX Runtime on the CPU.

    Args:
        content: bytes of the file, which may be untrusted.
        name: name of the file, for error messages.
        threads: threads of the runtime; None for the cores of this process.

    Attributes:
        metadata: task, windows and thresholds of the classifier.
        task: task of the classifier, from the metadata.
        config: window settings, structured like the configuration of a classifier.
        any_length: whether clips may have lengths other than ``task.num_samples``.

    Raises:
        ConfigError: ONNX Runtime is not installed, or cannot run the file.
        CheckpointError: the file was not written by ``audio-lightning export``, or was changed.
    """

    def __init__(self, content: bytes, name: str, *, threads: int | None = None) -> None:
        self.name = name
        self._session = open_session(content, name, threads=threads or at_most_set(cores()), needed_by="an ONNX model")
        try:
            properties = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{name}: the metadata is not UTF-8; export it again") from error
        self.metadata = OnnxMetadata.from_properties(properties, name)
        self.task: AudioTask = self.metadata.task
        self.config: dict[str, Any] = {
            "data": {"hop_seconds": self.metadata.hop_seconds, "channel": self.metadata.channel}
        }
        self.any_length = self._check_sizes()

    def probabilities(self, samples: Float[np.ndarray, "batch samples"]) -> Float[np.ndarray, "batch classes"]:
        """Compute the calibrated probability of every class.

        Args:
            samples: float32 waveforms at ``task.sample_rate``.

        Raises:
            CheckpointError: the graph fails, or its output has the wrong shape.
        """
        try:
            (found,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(samples, dtype=np.float32)})
        except Exception as error:  # the runtime's errors have no common base class
            raise CheckpointError(f"{self.name} fails on clips: {one_line(error)}; export it again") from error
        if found.shape != (len(samples), self.task.num_classes):
            raise CheckpointError(
                f"{self.name}: output of shape {list(found.shape)}, expected {[len(samples), self.task.num_classes]}; "
                "export it again"
            )
        return found

    def decide(
        self, probabilities: Float[np.ndarray, "clips classes"], thresholds: Float[np.ndarray, "classes"] | None = None
    ) -> list[list[str]]:
        """Return the predicted labels of every clip, like :meth:`Classifier.decide` of a checkpoint."""
        names, own = self.task.classes, self.metadata.thresholds
        if thresholds is None and own is not None:
            thresholds = np.array(own, dtype=np.float32)
        if own is not None and thresholds is not None:
            return [[name for name, yes in zip(names, clip) if yes] for clip in probabilities >= thresholds]
        best = probabilities.argmax(axis=1)
        if thresholds is None:
            return [[names[index]] for index in best]
        reached = probabilities[np.arange(len(best)), best] >= thresholds[best]
        return [[names[index] if yes else UNKNOWN] for index, yes in zip(best, reached)]

    def _check_sizes(self) -> bool:
        """Check that the graph fits its metadata; return whether it accepts clips of any length."""
        given = {value.name: (value.type, value.shape) for value in self._session.get_inputs()}
        made = {value.name: (value.type, value.shape) for value in self._session.get_outputs()}
        expected = f"input {INPUT} [batch, samples] and output {OUTPUT} [batch, classes], both float32"
        for sizes, name in ((given, INPUT), (made, OUTPUT)):
            kind, shape = sizes.get(name, ("", []))
            if list(sizes) != [name] or kind != "tensor(float)" or len(shape) != 2 or isinstance(shape[0], int):
                raise CheckpointError(f"{self.name}: expected {expected}; export it again")
        samples, classes = given[INPUT][1][1], made[OUTPUT][1][1]
        if isinstance(classes, int) and classes != self.task.num_classes:
            raise CheckpointError(
                f"{self.name}: {self.task.num_classes} classes in the metadata, but {classes} in the graph; export it "
                "again"
            )
        if isinstance(samples, int) and samples != self.task.num_samples:
            raise CheckpointError(
                f"{self.name}: {self.task.num_samples} samples in the metadata, but {samples} in the graph; export it "
                "again"
            )
        return not isinstance(samples, int)


def load_onnx(path: Path, *, device: str = "cpu", trust: str | Iterable[str] | None = None) -> OnnxModel:
    """Load an ONNX file that ``audio-lightning export`` wrote.

    Args:
        path: the file.
        device: ``cpu``; no other device is supported.
        trust: modules of the user's own; none are supported, because a graph contains no classes of Python.

    Raises:
        FileError: the file is missing, not a regular file, or too large.
        ConfigError: another device, or trusted modules; see also :class:`OnnxModel`.
        CheckpointError: see :class:`OnnxModel`.
    """
    if device != "cpu":
        raise ConfigError(f"--device {device}: not supported by ONNX models; leave it out, or use the checkpoint")
    if trust:
        names = trust if isinstance(trust, str) else ", ".join(trust)
        raise ConfigError(
            f"--trust {names}: not supported by ONNX models ({path}), which name no classes of Python; leave it out"
        )
    with open_regular(path.expanduser(), most=MOST_BYTES, follow=True) as file:
        return OnnxModel(file.read(), str(path))
