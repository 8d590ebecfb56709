"""Export to a ``.pte`` file of ExecuTorch, for phones and other devices, with the XNNPACK kernels for CPUs."""

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.inference.export.graph import Graph, quietly, refusal, without_native_logs
from audio_lightning.inference.export.parity import Predict, clip_by_clip
from audio_lightning.inference.onnx_metadata import OnnxMetadata


def to_pte(graph: Graph, metadata: OnnxMetadata) -> bytes:
    """Convert a graph of one clip.

    The program has the method ``forward``, and a method without inputs for each entry of the metadata, which returns it
    as JSON.

    Raises:
        ConfigError: ExecuTorch cannot convert the graph.
    """
    try:
        with quietly():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = to_edge_transform_and_lower(
                graph.program, partitioner=[XnnpackPartitioner()], constant_methods=metadata.to_properties()
            )
            return bytes(program.to_executorch().buffer)
    except Exception as error:  # the converter's errors have no common base class
        raise refusal("ExecuTorch cannot convert it", error) from error


def open_pte(content: bytes) -> Predict:
    """Load a program into ExecuTorch's runtime; the function accepts batches of any size.

    Raises:
        ConfigError: the runtime lacks an operator of the program, or does not fit the version of torch. The function
            raises it, too.
    """
    try:
        with without_native_logs():
            from executorch.runtime import Runtime

            program = Runtime.get().load_program(content)
            method = program.load_method("forward")
    except Exception as error:  # the runtime's errors have no common base class
        raise refusal("ExecuTorch's runtime cannot load it", error) from error

    def probabilities(clips: Float[np.ndarray, "1 samples"]) -> Float[np.ndarray, "1 classes"]:
        try:
            (found,) = method.execute([torch.from_numpy(np.ascontiguousarray(clips))])
        except Exception as error:  # no common base class here either
            raise refusal(f"ExecuTorch's runtime cannot run it beside torch {torch.__version__}", error) from error
        return found.numpy().copy()  # the next call overwrites it

    return clip_by_clip(probabilities)
