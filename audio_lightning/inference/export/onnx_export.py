"""Translation of a torch.export graph to ONNX."""

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
"""Metadata key under which the exporter stores the modules that a node comes from."""

LEAST_OPSET = 18
"""Lowest operator set version that the exporter writes without a conversion."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with weights."""


@dataclass(frozen=True)
class OnnxGraph:
    """An ONNX model in memory.

    Attributes:
        model: the ``ModelProto``.
        weighted: names of the nodes with weights in the networks; nodes of front ends are excluded.
    """

    model: Any
    weighted: list[str]

    def content(self, metadata: OnnxMetadata) -> bytes:
        """Serialize the model with metadata.

        Raises:
            ConfigError: the model is too large for one file.
        """
        return serialized(self.model, metadata)


def require_onnx() -> None:
    """Check that the packages for the export are installed.

    Raises:
        ConfigError: a package is missing.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ConfigError(f"export: {package} is not installed; pip install 'audio-lightning[export]'") from error


def to_onnx(graph: Graph, front_ends: set[str], opset: int | None = None) -> OnnxGraph:
    """Translate a graph to ONNX.

    Args:
        graph: the captured classifier.
        front_ends: names of the modules of the classifier that compute features.
        opset: operator set version; None for the exporter's default.

    Raises:
        ConfigError: an operator that ONNX does not have, or a version that the exporter cannot write.
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
    except Exception as error:  # the exporter's errors have no common base class
        raise refusal("ONNX has no operators for it", error) from error
    found = {entry.domain: entry.version for entry in model.opset_import}
    if opset is not None and found.get("") != opset:
        raise ConfigError(f"--opset {opset}: the exporter wrote version {found.get('')}; give that, or leave it out")
    weighted = _name_nodes(model, front_ends)
    _strip(model)
    return OnnxGraph(model, weighted)


def serialized(model: Any, metadata: OnnxMetadata) -> bytes:
    """Serialize a ``ModelProto`` with metadata.

    Raises:
        ConfigError: the model is too large for one file.
    """
    import onnx

    onnx.helper.set_model_props(model, metadata.to_properties())
    if model.ByteSize() > MOST_BYTES:
        raise ConfigError(
            f"a model of {model.ByteSize() / 1e9:.1f} GB is too large for an ONNX file (2 GB); use --format "
            "torch-export"
        )
    return bytes(model.SerializeToString())


def _name_nodes(model: Any, front_ends: set[str]) -> list[str]:
    """Give every node a unique name; return the names of the nodes with weights in the networks."""
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
    """Remove source lines and file paths of this machine, which the exporter records."""
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
