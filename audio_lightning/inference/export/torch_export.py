"""Export to a ``.pt2`` file of torch.export, which torch loads without this package."""

import io

import torch

from audio_lightning.inference.export.graph import Graph, quietly
from audio_lightning.inference.onnx_metadata import OnnxMetadata

METADATA = "audio_lightning.json"
"""Name of the extra file with the metadata: a JSON object with JSON-encoded values."""


def to_pt2(graph: Graph, metadata: OnnxMetadata) -> bytes:
    """Serialize a graph with metadata."""
    from audio_lightning.core.files import to_json

    archive = io.BytesIO()
    with quietly():
        torch.export.save(graph.program, archive, extra_files={METADATA: to_json(metadata.to_properties())})
    return archive.getvalue()


def load_pt2(content: bytes) -> torch.nn.Module:
    """Load the module from the output of :func:`to_pt2`, which must be trusted."""
    with quietly():
        return torch.export.load(io.BytesIO(content)).module()
