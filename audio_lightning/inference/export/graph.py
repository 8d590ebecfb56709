"""Capture of a classifier with torch.export: one graph from waveforms to calibrated probabilities."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line, shortened
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.stft import Decibel, PowerSpectrogram
from audio_lightning.inference.export.exportable import make_exportable
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.encoder_inputs import EncoderInput

STDERR = 2
"""File descriptor of the standard error."""

CLIPS = 2
"""Batch size of the example input; torch.export would fix a batch size of one."""

LONGEST = 2**31
"""Clip length in samples; a graph that accepts longer clips counts as a graph for clips of any length."""


class Probabilities(nn.Module):
    """Calibrated probabilities of every class, ``[batch, samples]`` to ``[batch, classes]``.

    Args:
        classifier: in evaluation mode. Its modules are changed in place, so it must not be used elsewhere.

    Raises:
        ConfigError: the classifier calls another runtime, which a graph cannot contain.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        for module in classifier.modules():
            if isinstance(module, Backbone) and not module.trainable:
                raise ConfigError(
                    f"{module.title}: cannot be exported, as it is an ONNX file that runs outside of the graph; export "
                    "a classifier on another feature, or use that file before a head of your own"
                )
            if isinstance(module, ClassifierNetwork):
                module.memory_format = torch.contiguous_format
                module.to(memory_format=torch.contiguous_format)  # weights, too: ExecuTorch rejects others
        make_exportable(classifier)
        self.classifier = classifier

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Compute the calibrated probability of every class, float32."""
        return self.classifier.activate(self.classifier(waveform))

    def front_ends(self) -> set[str]:
        """Return the names of the modules that compute features, including front ends of published networks."""
        kinds = (FrontEnd, PowerSpectrogram, Decibel, EncoderInput)
        return {name for name, module in self.named_modules() if isinstance(module, kinds)}


@dataclass(frozen=True)
class Graph:
    """A captured classifier.

    Attributes:
        program: the graph, for any batch size, or for one clip.
        any_length: whether clips may also have any length.
    """

    program: ExportedProgram
    any_length: bool


def graphs_of(probabilities: Probabilities) -> Iterator[Graph]:
    """Yield the graph for clips of any length, if the networks support it, then the graph for clips of fixed length.

    Raises:
        ConfigError: the fixed-length graph cannot be captured.
    """
    variable = all(network.accepts_variable_length for network in probabilities.classifier.networks)
    for length in (Dim.DYNAMIC, Dim.STATIC) if variable else (Dim.STATIC,):
        try:
            program = _captured(probabilities, CLIPS, (Dim.DYNAMIC, length))
        except Exception as error:  # torch's errors have no common base class
            if length is Dim.STATIC:
                raise refusal("it cannot be captured as a graph", error) from error
            continue  # some module needs a fixed number of samples
        if length is Dim.STATIC or _has_any_length(program):
            yield Graph(program, any_length=length is Dim.DYNAMIC)


def graph_of_one_clip(probabilities: Probabilities) -> Graph:
    """Capture the graph for one clip of fixed length: runtimes of phones allocate their memory in advance.

    Raises:
        ConfigError: it cannot be captured.
    """
    try:
        return Graph(_captured(probabilities, 1, (Dim.STATIC, Dim.STATIC)), any_length=False)
    except Exception as error:  # torch's errors have no common base class
        raise refusal("it cannot be captured as a graph", error) from error


def refusal(what: str, error: Exception) -> ConfigError:
    """Build the error message for a failure of torch or of the exporter, whose first cause says what is missing."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return ConfigError(
        f"the classifier cannot be exported: {what} ({type(error).__name__}: {shortened(first_line(error), 200)})"
    )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence log messages and warnings of exporters and quantizers about their own code."""
    names = ("torch.export", "torch.onnx", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir", "executorch", "root")
    loggers = [logging.getLogger(None if name == "root" else name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


@contextlib.contextmanager
def without_native_logs() -> Iterator[None]:
    """Discard what libraries in C++ write to the standard error; Python's exceptions are not affected."""
    sys.stderr.flush()
    kept = os.dup(STDERR)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), STDERR)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, STDERR)
        os.close(kept)


def _has_any_length(program: ExportedProgram) -> bool:
    """Whether a graph accepts clips of any length; a branch on the length restricts the range."""
    (name,) = program.graph_signature.user_inputs
    (clips,) = (node.meta["val"] for node in program.graph.nodes if node.name == name)
    samples = clips.shape[1]
    return not isinstance(samples, int) and bool(program.range_constraints[samples.node.expr].upper > LONGEST)


def _captured(probabilities: Probabilities, clips: int, shape: tuple[object, object]) -> ExportedProgram:
    """Capture the graph with an example of some clips; ``shape`` has the kinds of the batch size and the length."""
    samples = probabilities.classifier.task.num_samples
    example = torch.randn(clips, samples, generator=torch.Generator().manual_seed(0)) / 10
    # The fused transformer layer is an operator of torch that no other runtime has.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with quietly(), torch.no_grad():
            return torch.export.export(probabilities, (example,), dynamic_shapes=(dict(enumerate(shape)),))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
