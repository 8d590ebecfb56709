"""Prediction, embedding and evaluation with trained classifiers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audio_lightning.api.opening import as_classifier, as_recordings
from audio_lightning.api.training import PathLike, Run, Trust
from audio_lightning.core.utf8 import as_utf8

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
    """Predict the class (or classes) of recordings of any sample rate, length and number of channels.

    Recordings that are longer than a clip of the training are predicted window by window.

    Args:
        classifier: a loaded classifier, a run, or a path as in :func:`load`; also the path of an ONNX file, for which
            torch is not imported.
        recordings: files, and folders that are searched for recordings.
        window_seconds: window length in seconds; None for the clip length of the training.
        hop_seconds: seconds from the start of one window to the next; None for the hop of the training, or for the
            window length if the training had no windows or ``window_seconds`` is given.
        per_recording: return one row for each recording, with the mean of its windows.
        raw: return probabilities before calibration; ``threshold`` and ``min_precision`` then apply to these.
        threshold: minimum probability of a prediction, for all classes or by class. Below it, the prediction is
            ``unknown``, or has no label if the data is multi-label.
        min_precision: target precision: the threshold is the lowest one that reaches it on the validation clips. It
            cannot be combined with ``threshold``.
        typicality: add a column ``typicality``: the share of the validation clips that are less typical by their energy
            score; near 0 for sounds unlike the training data.
        batch_size: windows in a batch.
        trust: see :func:`load`.

    Returns:
        One row per window (or recording): ``path``, ``start_seconds``, ``end_seconds``, ``predicted`` (a list if the
        data is multi-label), ``probability <class>`` for every class, ``typicality`` if requested, and ``error`` for a
        recording that cannot be read.

    Raises:
        CheckpointError: see :func:`load`.
        ConfigError: see :func:`load`; also a threshold that is not a probability, ``threshold`` together with
            ``min_precision``, a precision that no threshold reaches, or an option that an ONNX file does not support.
        DataError: a folder without recordings.

    Example:
        For a trained classifier, give its run folder: ``al.predict("runs/first", "recordings")``. This one is
        untrained:

        >>> import tempfile
        >>> import numpy, soundfile
        >>> import audio_lightning as al
        >>> from audio_lightning.classifier.classifier import AudioClassifier
        >>> from audio_lightning.config import as_plain
        >>> from audio_lightning.core.task import AudioTask
        >>> task = AudioTask(("dog", "siren"), sample_rate=8000, num_samples=8000)
        >>> config = as_plain(al.compose("data=demo", "feature.normalize=clip"))
        >>> classifier = AudioClassifier(config, task.to_dict(), [1, 1]).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/street.wav", numpy.zeros(16000), 8000)
        ...     predictions = al.predict(classifier, folder)
        >>> predictions["end_seconds"].tolist()
        [1.0, 2.0]
        >>> [name for name in predictions if name.startswith("probability")]
        ['probability dog', 'probability siren']
    """
    from audio_lightning.inference.onnx_model import is_onnx, load_onnx
    from audio_lightning.inference.predict import check_outputs
    from audio_lightning.inference.predict import predict as predictions_of
    from audio_lightning.inference.rejection import choose_thresholds

    loaded: Classifier | OnnxModel
    if isinstance(classifier, str | Path) and is_onnx(Path(classifier)):
        loaded = load_onnx(Path(classifier), trust=trust)
    else:
        loaded = as_classifier(classifier, trust)
    options: dict[str, Any] = {"window_seconds": window_seconds, "hop_seconds": hop_seconds, "batch_size": batch_size}
    check_outputs(loaded, raw=raw, typicality=typicality)
    options |= {"raw": raw, "thresholds": choose_thresholds(loaded, threshold, min_precision, raw=raw)[0]}
    options["typicality"] = typicality
    several, rows = loaded.task.multilabel, []
    for found in predictions_of(loaded, as_recordings(recordings), per_recording=per_recording, **options):
        labels = found.labels if several or found.labels is None else found.labels[0]
        shares = [None] * len(loaded.task.classes) if found.probabilities is None else found.probabilities.tolist()
        shares += [found.typicality] if typicality else []
        rows.append([as_utf8(found.path), found.start_seconds, found.stop_seconds, labels, *shares, found.error])
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
    """Compute embeddings of recordings, window by window: the input of the network's head.

    The arguments are the same as for :func:`predict`.

    Returns:
        One row per window: ``path``, ``start_seconds``, ``end_seconds``, ``embedding 0`` and so on, and ``error``.

    Example:
        >>> import tempfile
        >>> import numpy, soundfile
        >>> import audio_lightning as al
        >>> from audio_lightning.classifier.classifier import AudioClassifier
        >>> from audio_lightning.config import as_plain
        >>> from audio_lightning.core.task import AudioTask
        >>> task = AudioTask(("dog", "siren"), sample_rate=8000, num_samples=8000)
        >>> config = as_plain(al.compose("data=demo", "feature.normalize=clip"))
        >>> classifier = AudioClassifier(config, task.to_dict(), [1, 1]).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/street.wav", numpy.zeros(16000), 8000)
        ...     embeddings = al.embed(classifier, folder).filter(like="embedding")
        >>> embeddings.shape == (2, classifier.embedding_dim)
        True
    """
    from audio_lightning.inference.embed import embed as embeddings_of

    loaded = as_classifier(classifier, trust)
    options = {"window_seconds": window_seconds, "hop_seconds": hop_seconds, "batch_size": batch_size}
    size, rows = loaded.embedding_dim, []
    for found in embeddings_of(loaded, as_recordings(recordings), **options):
        vector = [None] * size if found.vector is None else found.vector.tolist()
        rows.append([as_utf8(found.path), found.start_seconds, found.stop_seconds, *vector, found.error])
    names = (f"embedding {number}" for number in range(size))
    return pd.DataFrame(rows, columns=["path", "start_seconds", "end_seconds", *names, "error"])


def evaluate(
    checkpoint: "Run | PathLike",
    *overrides: str,
    output: PathLike | None = None,
    trust: Trust = None,
    config_dir: PathLike | None = None,
) -> "Evaluation":
    """Evaluate a classifier on the test clips of its run, or on other labelled recordings.

    Other data is tested as a whole, unless it has a test split, or overrides such as ``data.split`` select recordings.
    A warning is printed if tested recordings were part of the training. A fit has no test split: on its own recordings,
    the cross-validation metrics are returned.

    Args:
        checkpoint: a run, the folder of a run or a fit, a checkpoint file, or an exported ONNX file.
        *overrides: ``data=NAME`` and ``data.KEY=VALUE``; none for the data of the run. An ONNX file needs
            ``data=NAME``.
        output: folder for ``metrics.json``, ``predictions.csv`` and ``per_class.csv``, not that of a run, a fit or a
            sweep; not for an ONNX file.
        trust: see :func:`load`.
        config_dir: see :func:`compose`.

    Returns:
        An object with the attributes ``metrics``, which include ``num_train_overlap``, the number of tested clips that
        were in the training data; and ``unknown_classes``, the classes of the data that the classifier does not have.
        Their clips are left out.

    Example:
        >>> import audio_lightning as al
        >>> al.evaluate("runs/first").metrics["test/accuracy"]  # doctest: +SKIP
        >>> al.evaluate("runs/first", "data=folder", "data.root=other").metrics  # doctest: +SKIP
    """
    from audio_lightning.config import quote_paths
    from audio_lightning.core.files import check_free
    from audio_lightning.fit.evaluation import evaluate as evaluated

    if isinstance(checkpoint, Run):
        trust, checkpoint = trust or checkpoint.trust, checkpoint.folder
    target = None if output is None else Path(output).expanduser()
    if target is not None:
        check_free("output=", target)
    options: dict[str, Any] = {"output": target, "trust": trust, "config_dir": config_dir}
    return evaluated(Path(checkpoint).expanduser(), quote_paths(overrides), **options)
