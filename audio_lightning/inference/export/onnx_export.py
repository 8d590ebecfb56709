"""From a graph of torch.export to a file of ONNX."""

import ast
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.export.graph import Graph, quietly, refusal
from audio_lightning.inference.onnx_metadata import OnnxMetadata
from audio_lightning.inference.onnx_model import INPUT, MOST_BYTES, OUTPUT

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter notes the modules that a node comes from."""

LEAST_OPSET = 18
"""Versions of the operators from which on the exporter writes them itself."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that multiply by weights."""


@dataclass(frozen=True)
class OnnxGraph:
    """A file of ONNX, not yet written.

    Attributes:
        model: the ``ModelProto``.
        weighted: names of the nodes of the networks that multiply by weights, none of a front end.
    """

    model: Any
    weighted: list[str]

    def content(self, metadata: OnnxMetadata) -> bytes:
        """The bytes of the file.

        Raises:
            ConfigError: it is too large for one file.
        """
        return serialized(self.model, metadata)


def require_onnx() -> None:
    """Refuse to export without the packages that it takes.

    Raises:
        ConfigError: one is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"export needs {package}, which is not installed: pip install 'audio-lightning[export]'"
            ) from error


def to_onnx(graph: Graph, front_ends: set[str], opset: int | None = None) -> OnnxGraph:
    """Translate a graph.

    Args:
        graph: the captured classifier.
        front_ends: names of its modules that compute features.
        opset: version of the operators; None for that of the exporter.

    Raises:
        ConfigError: an operator that ONNX has not, or a version that the exporter cannot write.
    """
    try:
        with quietly():
            program: Any = torch.onnx.export(
                graph.program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=opset,
                verbose=False,
            )
            given = program.model.graph.inputs[0].shape
            names = {given[0]: "batch", **({given[1]: "samples"} if graph.any_length else {})}
            program.rename_axes(names)
            model = program.model_proto
    except Exception as error:  # the exporter's errors have nothing else in common
        raise refusal("ONNX has no operators for it", error) from error
    found = {entry.domain: entry.version for entry in model.opset_import}
    if opset is not None and found.get("") != opset:
        raise ConfigError(f"--opset {opset}: the exporter wrote version {found.get('')}; leave it out, or name that")
    weighted = _name_nodes(model, front_ends)
    _strip(model)
    return OnnxGraph(model, weighted)


def serialized(model: Any, metadata: OnnxMetadata) -> bytes:
    """The bytes of a ``ModelProto`` with metadata.

    Raises:
        ConfigError: it is too large for one file.
    """
    import onnx

    onnx.helper.set_model_props(model, metadata.to_properties())
    if model.ByteSize() > MOST_BYTES:
        raise ConfigError(f"a model of {model.ByteSize() / 1e9:.1f} GB is too large for a file of ONNX (2 GB)")
    return bytes(model.SerializeToString())


def _name_nodes(model: Any, front_ends: set[str]) -> list[str]:
    """Give every node a name of its own; returns those of the networks that multiply by weights."""
    weighted = []
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
        noted = {entry.key: entry.value for entry in node.metadata_props}
        scopes: list[str] = ast.literal_eval(noted.get(SCOPES, "[]"))
        in_network = any("network" in scope.split(".") for scope in scopes)
        if node.op_type in WEIGHTED and in_network and not front_ends.intersection(scopes):
            weighted.append(node.name)
    return weighted


def _strip(model: Any) -> None:
    """Take out what the exporter notes of this machine: lines of code, paths of files."""
    model.producer_name, model.doc_string = "audio-lightning", ""
    del model.metadata_props[:]
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            part.doc_string = ""
            if hasattr(part, "metadata_props"):
                del part.metadata_props[:]
        waiting += [found.g for node in graph.node for found in node.attribute if found.HasField("g")]
