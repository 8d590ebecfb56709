"""A classifier as one graph of torch.export, from waveforms to calibrated probabilities."""

import contextlib
import logging
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

CLIPS = 2
"""Clips of the example: a batch of one would become the only size."""

LONGEST = 2**31
"""Samples of a clip; a graph that takes clips as long as this takes those of any length."""


class Probabilities(nn.Module):
    """Calibrated probabilities of every class, ``[batch, samples]`` to ``[batch, classes]``.

    Args:
        classifier: in evaluation mode, and of nobody else: its modules are changed in place.

    Raises:
        ConfigError: it calls another runtime, which no graph can hold.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        for module in classifier.modules():
            if isinstance(module, Backbone) and not module.trainable:
                raise ConfigError(
                    f"{module.title} cannot be exported: it is a file of ONNX that runs outside of the graph; export a "
                    "classifier on another feature, or use that file before a head of your own"
                )
            if isinstance(module, ClassifierNetwork):
                module.memory_format = torch.contiguous_format
        make_exportable(classifier)
        self.classifier = classifier

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Calibrated probability of every class, float32."""
        return self.classifier.activate(self.classifier(waveform))

    def front_ends(self) -> set[str]:
        """Names of the modules that compute features, also those within published networks."""
        kinds = (FrontEnd, PowerSpectrogram, Decibel, EncoderInput)
        return {name for name, module in self.named_modules() if isinstance(module, kinds)}


@dataclass(frozen=True)
class Graph:
    """A captured classifier.

    Attributes:
        program: the graph, for batches of any size.
        any_length: whether clips may have any length, too.
    """

    program: ExportedProgram
    any_length: bool


def graphs_of(probabilities: Probabilities) -> Iterator[Graph]:
    """The graph for clips of any length, where the networks take such, then that for clips of the usual length.

    Raises:
        ConfigError: the second one cannot be captured.
    """
    classifier = probabilities.classifier
    example = torch.randn(CLIPS, classifier.task.num_samples, generator=torch.Generator().manual_seed(0)) / 10
    variable = all(network.accepts_variable_length for network in classifier.networks)
    for length in (Dim.DYNAMIC, Dim.STATIC) if variable else (Dim.STATIC,):
        try:
            program = _captured(probabilities, example, length)
        except Exception as error:  # torch's errors have nothing else in common
            if length is Dim.STATIC:
                raise refusal("it cannot be captured as a graph", error) from error
            continue  # a part of it counts samples in a way that a graph cannot hold
        if length is Dim.STATIC or _has_any_length(program):
            yield Graph(program, any_length=length is Dim.DYNAMIC)


def refusal(what: str, error: Exception) -> ConfigError:
    """What a user gets where torch or the exporter gives up."""
    return ConfigError(
        f"the classifier cannot be exported: {what} ({type(error).__name__}: {shortened(first_line(error), 200)})"
    )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what exporters and quantizers say about their own code off the screen."""
    names = ("torch.export", "torch.onnx", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir", "root")
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


def _has_any_length(program: ExportedProgram) -> bool:
    """Whether clips may be as long as one likes: of branches that depend on the length, a graph has one alone."""
    (name,) = program.graph_signature.user_inputs
    (clips,) = (node.meta["val"] for node in program.graph.nodes if node.name == name)
    samples = clips.shape[1]
    return not isinstance(samples, int) and bool(program.range_constraints[samples.node.expr].upper > LONGEST)


def _captured(probabilities: Probabilities, example: Tensor, length: object) -> ExportedProgram:
    # The fused layer of transformers is one operator of torch's own, which no other runtime has.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with quietly(), torch.no_grad():
            return torch.export.export(probabilities, (example,), dynamic_shapes=({0: Dim.DYNAMIC, 1: length},))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
