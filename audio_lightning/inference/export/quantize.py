"""Networks in eight-bit integers: static quantization of weights and activations by ONNX runtime.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR
2018). Weights have a scale for each channel; they use seven bits, as products of eight overflow on x86 processors
without VNNI. Front ends stay in float32: the powers of a spectrogram reach over ten orders of magnitude.
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
"""Operators between those with weights that change no value that is an integer."""

SMALLEST = 1e-7
"""Of a probability, before its logarithm is taken."""


def quantize(graph: OnnxGraph, clips: Float[np.ndarray, "clips samples"]) -> Any:
    """A ``ModelProto`` with the convolutions and matrix products of the networks in integers.

    Args:
        graph: the float one.
        clips: whose activations the ranges are taken from.

    Raises:
        ConfigError: a network without such operators, or one that the quantizer fails on.
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
        """Clips one by one, so that a batch takes no memory."""

        def __init__(self) -> None:
            self.rest: Iterator[Any] = iter(clips)

        def get_next(self) -> dict[str, Any] | None:
            """The input of the next run; None at the end."""
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
        except Exception as error:  # the quantizer's errors have nothing else in common
            raise refusal("ONNX runtime cannot quantize it", error) from error
        return onnx.load(target)


def accuracies(
    task: AudioTask, predicts: Mapping[str, Predict], clips: RealClips
) -> tuple[str, dict[str, float]] | None:
    """The metric that a training is chosen by, of several models on the test clips of the run.

    Args:
        task: of the classifier.
        predicts: by name, a model.
        clips: with the data of the run.

    Returns:
        The name of the metric, and its value by model; None without labels.
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
    """Logits that have these probabilities."""
    return probabilities.logit(SMALLEST) if multilabel else probabilities.clamp_min(SMALLEST).log()
