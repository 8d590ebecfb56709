"""Static int8 quantization of weights and activations of the networks with ONNX Runtime.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR
2018). Weights have one scale per channel and use seven bits, because products of eight-bit values overflow on x86
processors without VNNI. Front ends stay in float32: the powers of a spectrogram span ten orders of magnitude.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask, metric_names
from audio_lightning.inference.export.clips import RealClips
from audio_lightning.inference.export.graph import quietly, refusal
from audio_lightning.inference.export.onnx_export import OnnxGraph
from audio_lightning.inference.export.parity import Predict
from audio_lightning.inference.onnx_model import INPUT
from audio_lightning.losses.objective import make_objective
from audio_lightning.metrics.factory import make_metrics

TOUCHED = ("Relu", "MaxPool")
"""Operators that are exact on integers and are quantized together with the weighted operators around them."""

SMALLEST = 1e-7
"""Lower bound of probabilities before the logarithm."""


def quantize(graph: OnnxGraph, clips: Float[np.ndarray, "clips samples"]) -> Any:
    """Quantize the convolutions and matrix products of the networks; return a ``ModelProto``.

    Args:
        graph: the float model.
        clips: clips that calibrate the ranges of activations.

    Raises:
        ConfigError: the network has no such operators, or the quantizer fails.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    if not graph.weighted:
        raise ConfigError("--int8: the network has no convolution or matrix product to quantize; leave it out")

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime has no types
        """Yields clips one by one, to save memory."""

        def __init__(self) -> None:
            self.rest: Iterator[Any] = iter(clips)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next input; None at the end."""
            clip = next(self.rest, None)
            return None if clip is None else {INPUT: clip[None]}

    between = [node.name for node in graph.model.graph.node if node.op_type in TOUCHED]
    kinds = sorted({node.op_type for node in graph.model.graph.node if node.name in {*graph.weighted, *between}})
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        try:
            with quietly():
                quantize_static(
                    graph.model,
                    target,
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=kinds,
                    nodes_to_quantize=[*graph.weighted, *between],
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    extra_options={"MatMulConstBOnly": True},
                )
        except Exception as error:  # the quantizer's errors have no common base class
            raise refusal("ONNX runtime cannot quantize it", error) from error
        return onnx.load(target)


def accuracies(
    task: AudioTask, predicts: Mapping[str, Predict], clips: RealClips
) -> tuple[str, dict[str, float]] | None:
    """Compute the default monitor of several models on the test clips of the run.

    Args:
        task: task of the classifier.
        predicts: models by name.
        clips: clips with the data of the run.

    Returns:
        Name of the metric, and its value for each model; None without labels.
    """
    objective, name = make_objective(task), metric_names(multilabel=task.multilabel)[0]
    metrics = {model: make_metrics(task) for model in predicts}
    seen = False
    for waveforms, targets in clips.labelled():
        seen, target = True, torch.from_numpy(targets)
        for model, predict in predicts.items():
            logits = _logits(torch.from_numpy(predict(waveforms)), multilabel=task.multilabel)
            metrics[model].update(logits, target, objective.per_clip(logits, target))
    if not seen:
        return None
    for found in metrics.values():
        found.gather()
    return name, {model: float(found.compute()[name]) for model, found in metrics.items()}


def _logits(probabilities: torch.Tensor, *, multilabel: bool) -> torch.Tensor:
    """Invert the activation: logits for these probabilities."""
    return probabilities.logit(SMALLEST) if multilabel else probabilities.clamp_min(SMALLEST).log()
