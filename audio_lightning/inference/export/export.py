"""Export of a checkpoint to other runtimes, compared with the checkpoint before the file is written."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning import __version__
from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.classifier.published import published_weights
from audio_lightning.config import trusting, user_extensions
from audio_lightning.config.licences import licence_of
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import disk_trouble, write_bytes
from audio_lightning.inference.export.clips import RealClips, clips_of_folder, clips_of_run
from audio_lightning.inference.export.executorch_export import open_pte, to_pte
from audio_lightning.inference.export.graph import Graph, Probabilities, graph_of_one_clip, graphs_of
from audio_lightning.inference.export.litert_export import open_tflite, to_tflite
from audio_lightning.inference.export.onnx_export import LEAST_OPSET, OnnxGraph, require_onnx, serialized, to_onnx
from audio_lightning.inference.export.parity import (
    Parity,
    Predict,
    agrees_at_other_lengths,
    compare,
    in_batches,
    require_parity,
)
from audio_lightning.inference.export.quantize import accuracies, quantize
from audio_lightning.inference.export.torch_export import load_pt2, to_pt2
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.onnx_metadata import OnnxMetadata
from audio_lightning.inference.onnx_model import OnnxModel
from audio_lightning.training.trainer import silence_lightning

Format = Literal["onnx", "torch-export", "executorch", "litert"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch-export": ".pt2", "executorch": ".pte", "litert": ".tflite"}
"""File suffix of each format."""


@dataclass(frozen=True)
class _Mobile:
    """A format for phones: one clip of fixed length.

    Attributes:
        packages: modules that are needed.
        convert: function from a graph and metadata to the bytes of a file.
        load: function from these bytes to prediction in the runtime of the format.
    """

    packages: tuple[str, ...]
    convert: Callable[[Graph, OnnxMetadata], bytes]
    load: Callable[[bytes], Predict]


MOBILE: dict[str, _Mobile] = {
    "executorch": _Mobile(("executorch",), to_pte, open_pte),
    "litert": _Mobile(("litert_torch", "ai_edge_litert"), to_tflite, open_tflite),
}
"""Formats for phones."""


@dataclass(frozen=True)
class Exported:
    """Result of an export: the file, and its comparison with the classifier.

    Attributes:
        path: the file.
        megabytes: file size in units of 10^6 bytes.
        parity: comparison of the float model with the classifier.
        any_length: whether clips may have any length.
        metadata: metadata of the file.
        int8: for an int8 model, a dictionary with ``parity``, its comparison with the classifier, and ``agreement``,
            the share of clips with the same most probable class. With the data of the run, also ``metric``, and its
            values ``float`` and ``int8`` on the test clips.
    """

    path: Path
    megabytes: float
    parity: Parity
    any_length: bool
    metadata: OnnxMetadata
    int8: dict[str, Any] | None = None


def export(
    checkpoint: Path,
    output: Path,
    overrides: Iterable[str] = (),
    *,
    output_format: str = "onnx",
    int8: bool = False,
    clips: Path | None = None,
    opset: int | None = None,
    trust: str | Iterable[str] | None = None,
    config_dir: str | Path | None = None,
) -> Exported:
    """Export a classifier as one graph: waveforms in, calibrated probabilities out.

    The graph is compared with the classifier on real clips. It is not written if a probability differs by more than
    :data:`audio_lightning.inference.export.parity.MOST_DIFFERENCE`. An int8 model is written in any case, with its
    comparison in the metadata.

    Args:
        checkpoint: checkpoint file or run folder.
        output: the file to write; an existing file is replaced atomically.
        overrides: ``data...`` keys, if the data of the run has moved.
        output_format: ``onnx``, ``torch-export``, ``executorch`` or ``litert``.
        int8: quantize weights and activations of the networks to eight-bit integers; ONNX only.
        clips: folder with recordings for the comparison; None for the data of the run.
        opset: version of the ONNX operator set; None for the exporter's default.
        trust: modules of the user's own whose classes the checkpoint may name.
        config_dir: folder with the user's own YAML files.

    Raises:
        CheckpointError: see :func:`load_classifier`.
        ConfigError: an invalid option, a missing package, no clips for the comparison, a classifier that cannot be
            exported, a graph that differs from the classifier, or a file that cannot be written.
        DataError: the data of the run has changed.
    """
    _check_options(output, output_format, int8=int8, opset=opset)
    overrides = list(overrides)
    with user_extensions(overrides, config_dir), trusting(trust):
        silence_lightning()
        classifier = load_classifier(checkpoint)
        keys = [line for line in overrides if not line.startswith("trusted_modules=")]
        real = clips_of_run(classifier, keys) if clips is None else clips_of_folder(classifier, clips.expanduser())
        probabilities = Probabilities(load_classifier(checkpoint))
        job = _Job(classifier, probabilities, real, output.expanduser(), int8, opset)
        if output_format in MOBILE:
            return _write_mobile(job, MOBILE[output_format])
        return _write_onnx(job) if output_format == "onnx" else _write_pt2(job)


@dataclass(frozen=True)
class _Job:
    """Inputs and options of an export."""

    classifier: Classifier
    probabilities: Probabilities
    clips: RealClips
    output: Path
    int8: bool
    opset: int | None

    @property
    def expected(self) -> Predict:
        """Prediction with the classifier itself."""
        return lambda clips: self.classifier.probabilities(torch.from_numpy(clips)).cpu().numpy()


def _check_options(output: Path, output_format: str, *, int8: bool, opset: int | None) -> None:
    if output_format not in SUFFIXES:
        raise ConfigError(f"--format {output_format}: expected one of {', '.join(SUFFIXES)}")
    for package in MOBILE[output_format].packages if output_format in MOBILE else ():
        if find_spec(package) is None:
            raise ConfigError(
                f"--format {output_format}: {package} is not installed; export in an environment of its own, see "
                "docs/how-to/export.md"
            )
    if output.suffix.lower() != SUFFIXES[output_format]:
        raise ConfigError(f"{output}: --format {output_format} needs the suffix {SUFFIXES[output_format]}; rename it")
    if output_format == "onnx":
        if opset is not None and opset < LEAST_OPSET:
            raise ConfigError(f"--opset {opset}: expected {LEAST_OPSET} or more")
        require_onnx()
    elif int8 or opset is not None:
        option = "--int8" if int8 else "--opset"
        raise ConfigError(f"{option}: only for --format onnx; leave it out")


def _write_onnx(job: _Job) -> Exported:
    metadata = describe(job.classifier)

    def opened(content: bytes) -> OnnxModel:
        return OnnxModel(content, job.output.name, threads=torch.get_num_threads())

    graph, onnx_graph = _first_that_agrees(
        job,
        lambda graph: to_onnx(graph, job.probabilities.front_ends(), job.opset),
        lambda graph: opened(graph.content(metadata)).probabilities,
    )
    model = opened(onnx_graph.content(metadata))
    parity = compare(job.expected, model.probabilities, job.clips.comparison)
    require_parity(parity, job.output.name)
    metadata = replace(metadata, measured={"parity": parity.to_plain()})
    if not job.int8:
        return _written(job, onnx_graph.content(metadata), parity, graph, metadata)
    return _write_int8(job, onnx_graph, model, parity, graph, opened)


def _write_int8(
    job: _Job,
    onnx_graph: OnnxGraph,
    model: OnnxModel,
    parity: Parity,
    graph: Graph,
    opened: Callable[[bytes], OnnxModel],
) -> Exported:
    quantized = quantize(onnx_graph, job.clips.calibration)
    small = opened(serialized(quantized, model.metadata))
    compared = compare(job.expected, small.probabilities, job.clips.comparison)
    found: dict[str, Any] = {"parity": compared.to_plain(), "agreement": _agreement(model, small, job.clips.comparison)}
    models = {"float": model.probabilities, "int8": small.probabilities}
    if (accuracy := accuracies(model.task, models, job.clips)) is not None:
        found |= {"metric": f"test/{accuracy[0]}", **accuracy[1]}
    metadata = replace(model.metadata, measured={"parity": parity.to_plain(), "int8": found})
    return replace(_written(job, serialized(quantized, metadata), parity, graph, metadata), int8=found)


def _write_pt2(job: _Job) -> Exported:
    metadata = describe(job.classifier)

    def predict(content: bytes) -> Predict:
        module = load_pt2(content)

        @torch.no_grad()
        def probabilities(clips: Float[np.ndarray, "batch samples"]) -> Float[np.ndarray, "batch classes"]:
            return module(torch.from_numpy(np.ascontiguousarray(clips))).numpy()

        return probabilities

    graph, content = _first_that_agrees(job, lambda graph: to_pt2(graph, metadata), predict)
    parity = compare(job.expected, predict(content), job.clips.comparison)
    require_parity(parity, job.output.name)
    metadata = replace(metadata, measured={"parity": parity.to_plain()})
    return _written(job, to_pt2(graph, metadata), parity, graph, metadata)


def _write_mobile(job: _Job, mobile: _Mobile) -> Exported:
    """Write the file that was compared: its metadata have no measurements, as a conversion takes long."""
    metadata = describe(job.classifier)
    graph = graph_of_one_clip(job.probabilities)
    content = mobile.convert(graph, metadata)
    parity = compare(job.expected, mobile.load(content), job.clips.comparison)
    require_parity(parity, job.output.name)
    return _written(job, content, parity, graph, metadata)


def _first_that_agrees(
    job: _Job, translate: Callable[[Graph], Any], opened: Callable[[Any], Predict]
) -> tuple[Graph, Any]:
    """Return the graph for clips of any length if it can be translated and agrees on them, else the static one."""
    for graph in graphs_of(job.probabilities):
        try:
            found = translate(graph)
            if not graph.any_length or agrees_at_other_lengths(job.expected, opened(found), job.clips.comparison):
                return graph, found
        except ConfigError:
            if not graph.any_length:
                raise
    raise AssertionError("the last graph is for clips of fixed length")


def _written(job: _Job, content: bytes, parity: Parity, graph: Graph, metadata: OnnxMetadata) -> Exported:
    try:
        write_bytes(job.output, content)
    except OSError as error:
        if disk_trouble(error) is not None:
            raise
        raise ConfigError(f"{job.output}: cannot be written ({error.strerror or error}); name another file") from error
    return Exported(job.output, len(content) / 1e6, parity, graph.any_length, metadata)


def describe(classifier: Classifier) -> OnnxMetadata:
    """Collect the metadata of a classifier."""
    data = classifier.config["data"]
    members = [module for module in classifier.modules() if isinstance(module, ClassifierNetwork)]
    stated = licence_of(classifier.config)
    weights = published_weights(member.initial_config for member in members)
    return OnnxMetadata(
        classifier.task,
        version=__version__,
        hop_seconds=data.get("hop_seconds"),
        channel=data.get("channel", "mean"),
        thresholds=tuple(classifier.thresholds.tolist()) if classifier.task.multilabel else None,
        licence=(
            *([] if stated is None else [f"model: {stated}"]),
            *(f"weights of {found.name}: {found.licence}" for found in weights),
        ),
    )


def _agreement(one: OnnxModel, other: OnnxModel, clips: Float[np.ndarray, "clips samples"]) -> float:
    """Share of the clips for which both models predict the same most probable class."""
    best = [in_batches(model.probabilities, clips).argmax(axis=1) for model in (one, other)]
    return float((best[0] == best[1]).mean())
