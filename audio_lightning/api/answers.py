"""Predictions, embeddings and tests of trained classifiers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audio_lightning.api.opening import as_classifier, as_recordings
from audio_lightning.api.training import PathLike, Run, Trust

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.evaluate import Evaluation
    from audio_lightning.inference.onnx_model import OnnxModel


def predict(
    classifier: "Classifier | Run | PathLike",
    recordings: PathLike | Iterable[PathLike],
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    per_recording: bool = False,
    raw: bool = False,
    threshold: float | Mapping[str, float] | None = None,
    min_precision: float | None = None,
    typicality: bool = False,
    batch_size: int = 32,
    trust: Trust = None,
) -> pd.DataFrame:
    """Name the class (or classes) of recordings of any rate, channels and length; longer ones window by window.

    Args:
        classifier: a loaded one, a run, or where one lies; also a file of ONNX, for which torch is not imported.
        recordings: files, and folders to look through.
        window_seconds: of a window; by default a clip of the training.
        hop_seconds: from window to window; by default as in the training, or a window if it had none or
            ``window_seconds`` is given.
        per_recording: one row for each recording, with the mean of its windows.
        raw: give the probabilities before calibration.
        threshold: least probability of a prediction, for all classes or by class; below it, the prediction is
            ``unknown``, or no label where clips may have several.
        min_precision: in its place, the share of the predictions that shall be right; the threshold is the lowest with
            which those of the validation clips were.
        typicality: add a column of that name: the share of the validation clips that the classifier finds less typical,
            near 0 for sounds unlike those trained on.
        batch_size: windows at once.
        trust: see :func:`load`.

    Raises:
        ConfigError: see :func:`load`; also a threshold that is none, both of the last two, or a precision that cannot
            be reached.

    Returns:
        One row a window, or a recording: ``path``, ``start_seconds``, ``end_seconds``, ``predicted`` (a list where
        clips may have several labels), ``probability <class>`` for every class, and ``error`` for a recording that
        cannot be read.
    """
    from audio_lightning.inference.onnx_model import is_onnx, load_onnx
    from audio_lightning.inference.predict import predict as predictions_of
    from audio_lightning.inference.rejection import choose_thresholds, typed_thresholds

    loaded: Classifier | OnnxModel
    if isinstance(classifier, str | Path) and is_onnx(Path(classifier)):
        loaded = load_onnx(Path(classifier))
    else:
        loaded = as_classifier(classifier, trust)
    options: dict[str, Any] = {"window_seconds": window_seconds, "hop_seconds": hop_seconds, "batch_size": batch_size}
    options |= {"raw": raw, "thresholds": choose_thresholds(loaded, typed_thresholds(threshold), min_precision)[0]}
    options["typicality"] = typicality
    several, rows = loaded.task.multilabel, []
    for found in predictions_of(loaded, as_recordings(recordings), per_recording=per_recording, **options):
        labels = found.labels if several or found.labels is None else found.labels[0]
        shares = [None] * len(loaded.task.classes) if found.probabilities is None else found.probabilities.tolist()
        shares += [found.typicality] if typicality else []
        rows.append([str(found.path), found.start_seconds, found.stop_seconds, labels, *shares, found.error])
    names = [*(f"probability {name}" for name in loaded.task.classes), *(["typicality"] if typicality else [])]
    return pd.DataFrame(rows, columns=["path", "start_seconds", "end_seconds", "predicted", *names, "error"])


def embed(
    classifier: "Classifier | Run | PathLike",
    recordings: PathLike | Iterable[PathLike],
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    batch_size: int = 32,
    trust: Trust = None,
) -> pd.DataFrame:
    """The embedding of recordings, window by window: the input of the network's head.

    The arguments are those of :func:`predict`.

    Returns:
        One row a window: ``path``, ``start_seconds``, ``end_seconds``, ``embedding 0`` and so on, and ``error``.
    """
    from audio_lightning.inference.embed import embed as embeddings_of

    loaded = as_classifier(classifier, trust)
    options = {"window_seconds": window_seconds, "hop_seconds": hop_seconds, "batch_size": batch_size}
    size, rows = loaded.embedding_dim, []
    for found in embeddings_of(loaded, as_recordings(recordings), **options):
        vector = [None] * size if found.vector is None else found.vector.tolist()
        rows.append([str(found.path), found.start_seconds, found.stop_seconds, *vector, found.error])
    names = (f"embedding {number}" for number in range(size))
    return pd.DataFrame(rows, columns=["path", "start_seconds", "end_seconds", *names, "error"])


def evaluate(
    checkpoint: "Run | PathLike",
    *overrides: str,
    output: PathLike | None = None,
    trust: Trust = None,
    config_dir: PathLike | None = None,
) -> "Evaluation":
    """Test a classifier again, on the test clips of its run or on other labelled recordings.

    Other recordings are all tested unless they have a test part of their own, or ``data.split`` and the like say which.
    It is printed if some were trained on. A fit has no test clips of its own: on its recordings, the figure of its
    cross-validation is given.

    Args:
        checkpoint: a run, the folder of a run or a fit, or a checkpoint file.
        *overrides: ``data=NAME`` and ``data.KEY=VALUE``; none: the data of the run.
        output: folder for ``metrics.json`` and ``predictions.csv``.
        trust: see :func:`load`.
        config_dir: folder with YAML files of the user's own, laid out like ``conf/``.

    Returns:
        ``metrics``, among them ``num_train_overlap``, the number of clips that the classifier was trained on; and
        ``unknown_classes``, whose clips were left out.
    """
    from audio_lightning.config import quote_paths
    from audio_lightning.fit.evaluation import evaluate as evaluated

    if isinstance(checkpoint, Run):
        trust, checkpoint = trust or checkpoint.trust, checkpoint.folder
    target = None if output is None else Path(output).expanduser()
    options: dict[str, Any] = {"output": target, "trust": trust, "config_dir": config_dir}
    return evaluated(Path(checkpoint).expanduser(), quote_paths(overrides), **options)
