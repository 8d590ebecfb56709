"""From a graph of torch.export to a ``.pt2`` file, which torch loads without this program."""

import io

import torch

from audio_lightning.inference.export.graph import Graph, quietly
from audio_lightning.inference.onnx_metadata import OnnxMetadata

METADATA = "audio_lightning.json"
"""Extra file of the archive: the metadata as one JSON object of JSON texts."""


def to_pt2(graph: Graph, metadata: OnnxMetadata) -> bytes:
    """The bytes of the file."""
    from audio_lightning.core.files import to_json

    archive = io.BytesIO()
    with quietly():
        torch.export.save(graph.program, archive, extra_files={METADATA: to_json(metadata.to_properties())})
    return archive.getvalue()


def load_pt2(content: bytes) -> torch.nn.Module:
    """The module in the bytes of a file of :func:`to_pt2`, which is trusted."""
    with quietly():
        return torch.export.load(io.BytesIO(content)).module()
