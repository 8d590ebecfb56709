"""Export to a ``.tflite`` file of LiteRT (TensorFlow Lite), for phones and other devices."""

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.core.files import to_json
from audio_lightning.inference.export.graph import Graph, quietly, refusal, without_native_logs
from audio_lightning.inference.export.parity import Predict, clip_by_clip
from audio_lightning.inference.onnx_metadata import OnnxMetadata

METADATA = "audio_lightning.json"
"""Name of the associated file with the metadata: a JSON object with JSON-encoded values.

TensorFlow Lite stores associated files in a ZIP archive that is appended to the model.
"""


def to_tflite(graph: Graph, metadata: OnnxMetadata) -> bytes:
    """Convert a graph of one clip.

    Raises:
        ConfigError: LiteRT cannot convert the graph.
    """
    (name,) = graph.program.graph_signature.user_inputs
    (clips,) = (node.meta["val"] for node in graph.program.graph.nodes if node.name == name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        try:
            with quietly(), without_native_logs():
                import litert_torch

                litert_torch.config.show_progress = False
                litert_torch.convert(graph.program.module(), (torch.zeros(clips.shape),)).export(str(file))
        except Exception as error:  # the converter's errors have no common base class
            raise refusal("LiteRT cannot convert it", error) from error
        with zipfile.ZipFile(file, "a") as associated:
            associated.writestr(METADATA, to_json(metadata.to_properties()))
        return file.read_bytes()


def open_tflite(content: bytes) -> Predict:
    """Load a model into LiteRT's interpreter; the function accepts batches of any size.

    Raises:
        ConfigError: the interpreter lacks an operator of the model.
    """
    with without_native_logs():
        from ai_edge_litert.interpreter import Interpreter

    try:
        with without_native_logs():
            interpreter = Interpreter(model_content=content, num_threads=torch.get_num_threads())
            interpreter.allocate_tensors()
    except Exception as error:  # the interpreter's errors have no common base class
        raise refusal("LiteRT's interpreter cannot load it", error) from error
    (waveform,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()

    def probabilities(clips: Float[np.ndarray, "1 samples"]) -> Float[np.ndarray, "1 classes"]:
        interpreter.set_tensor(waveform["index"], np.ascontiguousarray(clips))
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(found["index"]))

    return clip_by_clip(probabilities)
