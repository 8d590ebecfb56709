"""Event detection, active learning, robustness, explanation and export of trained classifiers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from audio_lightning.api.opening import as_classifier, as_folder, as_paths, as_recordings
from audio_lightning.api.training import PathLike, Run, Trust
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.core.utf8 import as_utf8

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.events import Smoothing
    from audio_lightning.inference.explain import Explanation, Method
    from audio_lightning.inference.export.export import Exported


def detect(
    classifier: "Classifier | Run | PathLike",
    recordings: PathLike | Iterable[PathLike],
    *,
    threshold: str | float | Mapping[str, str | float] = "auto",
    ignore: Iterable[str] = (),
    event_duration: str | float | Mapping[str, str | float] | None = "auto",
    merge_gap_seconds: float = 0.0,
    min_duration_seconds: float = 0.0,
    smoothing: "Smoothing" = "median",
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    batch_size: int = 32,
    trust: Trust = None,
) -> pd.DataFrame:
    """Detect sound events: onset, offset and class, in recordings of any length.

    Args:
        classifier: a loaded classifier, a run, or a path as in :func:`load`.
        recordings: files, and folders that are searched for recordings.
        threshold: minimum probability of an event: a number, ``auto`` for the best F1 on the validation clips, or a
            mapping from class to a number or ``auto``; the key ``""`` stands for all other classes.
        ignore: classes that are not reported. Classes that mean no event, such as ``background``, are not reported
            either, unless ``threshold`` has a number for them.
        event_duration: typical duration of events that are shorter than a window, in seconds: a number, ``auto`` for
            the median duration of the sound in the validation clips of each class, ``none`` or None for the duration
            that was found, or a mapping from class to a number; the key ``""`` stands for all other classes.
        merge_gap_seconds: longest gap within an event, in seconds.
        min_duration_seconds: duration of the shortest event, in seconds.
        smoothing: smoothing of the scores of overlapping windows: ``median``, ``mean`` or ``none``.
        window_seconds: window length in seconds; None for the clip length of the training.
        hop_seconds: seconds from the start of one window to the next; None for a quarter of a window.
        batch_size: windows in a batch.
        trust: see :func:`load`.

    Returns:
        One row per event: ``path``, ``start_seconds``, ``end_seconds``, ``label``, ``confidence`` (its highest
        probability), and ``error`` for a recording that cannot be read.

    Raises:
        CheckpointError: see :func:`load`.
        ConfigError: see :func:`load`; also an invalid window, hop, duration or threshold, or an unknown class.
        DataError: a folder without recordings.

    Example:
        For a trained classifier, give its run folder: ``al.detect("runs/first", "recordings")``. This one is
        untrained, and its probability of either class is far from 0.99:

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
        ...     events = al.detect(classifier, folder, threshold=0.99)
        >>> len(events)
        0
    """
    from audio_lightning.inference.detect import DetectionPlan, detect_all, make_jobs, to_frame
    from audio_lightning.inference.event_durations import NONE, choose_durations
    from audio_lightning.inference.events import EventSettings
    from audio_lightning.inference.thresholds import choose_thresholds

    loaded = as_classifier(classifier, trust)
    thresholds, _ = choose_thresholds(loaded, threshold, list(ignore))
    durations, _ = choose_durations(loaded, NONE if event_duration is None else event_duration)
    settings = EventSettings(thresholds, smoothing, merge_gap_seconds, min_duration_seconds, durations)
    plan = DetectionPlan(settings, window_seconds, hop_seconds, batch_size).resolved(loaded)
    several = [recordings] if isinstance(recordings, (str, Path)) else recordings
    jobs = make_jobs([Path(path).expanduser() for path in several])
    return to_frame(detect_all(loaded, jobs, plan))


def evaluate_events(
    detections: pd.DataFrame, reference: "pd.DataFrame | PathLike", recordings: PathLike | Iterable[PathLike]
) -> dict[str, float]:
    """Compute metrics of detected events against annotated events: F1, PSDS and onset errors.

    Args:
        detections: the table that :func:`detect` returns.
        reference: a table with ``path``, ``start_seconds``, ``end_seconds`` and ``label``; an annotation file of Raven
            or Audacity; or a folder with one such file for each recording.
        recordings: the same as for :func:`detect`, because recordings without events count as well.

    Returns:
        See :func:`audio_lightning.inference.event_metrics.evaluate_events`.

    Example:
        It needs ``pip install 'audio-lightning[events]'``.

        >>> import audio_lightning as al
        >>> events = al.detect("runs/first", "recordings")  # doctest: +SKIP
        >>> al.evaluate_events(events, "annotations", "recordings")["event_f1"]  # doctest: +SKIP
    """
    from audio_lightning.audio import describe
    from audio_lightning.inference.event_metrics import evaluate_events as evaluated
    from audio_lightning.inference.event_metrics import read_reference

    paths = as_recordings(recordings)
    if isinstance(reference, (str, Path)):
        reference = read_reference(Path(reference).expanduser(), paths)
    return evaluated(detections, reference, seconds={as_utf8(path): describe(path).duration_seconds for path in paths})


def suggest(
    classifier: "Classifier | Run | PathLike",
    recordings: PathLike | Iterable[PathLike],
    *,
    number: int = 50,
    like: PathLike | None = None,
    labelled: PathLike | Iterable[PathLike] = (),
    seed: int = 0,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    batch_size: int = 32,
    trust: Trust = None,
) -> pd.DataFrame:
    """Active learning: choose windows of unlabelled recordings to label next, uncertain and diverse ones.

    Args:
        classifier: a loaded classifier, a run, or a path as in :func:`load`.
        recordings: files, and folders that are searched for recordings.
        number: number of windows.
        like: path of a clip; the recordings with the most similar window are then chosen instead.
        labelled: tables of earlier suggestions; their windows are left out.
        seed: seed of the random draws.
        window_seconds: window length in seconds; see :func:`predict`.
        hop_seconds: seconds from the start of one window to the next; see :func:`predict`.
        batch_size: windows in a batch.
        trust: see :func:`load`.

    Returns:
        One row per window, the most important first: ``path``, ``start_seconds``, ``end_seconds``, ``label`` (empty, to
        be filled in), ``predicted``, ``probability`` and ``score``. Paths are relative to ``recordings`` if that is one
        folder.

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
        ...     soundfile.write(f"{folder}/street.wav", numpy.random.default_rng(0).normal(0, 0.1, 24000), 8000)
        ...     al.suggest(classifier, folder, number=2)["path"].tolist()
        ['street.wav', 'street.wav']
    """
    from audio_lightning.inference.suggest import COLUMNS
    from audio_lightning.inference.suggest import suggest as suggestions

    found = suggestions(
        as_classifier(classifier, trust),
        as_paths(recordings),
        number=number,
        like=None if like is None else Path(like).expanduser(),
        labelled=as_paths(labelled),
        seed=seed,
        window_seconds=window_seconds,
        hop_seconds=hop_seconds,
        batch_size=batch_size,
    )
    rows = [
        [
            one.path,
            one.start_seconds,
            one.stop_seconds,
            "",
            LABEL_SEPARATOR.join(one.predicted),
            one.probability,
            one.score,
        ]
        for one in found.windows
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def robustness(
    checkpoint: "Run | PathLike",
    *overrides: str,
    against: "Run | PathLike | None" = None,
    only: Iterable[str] = (),
    clips: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    output: PathLike | None = None,
    trust: Trust = None,
    config_dir: PathLike | None = None,
) -> pd.DataFrame:
    """Robustness benchmark: test a classifier on corrupted test clips (noise, reverberation, codecs and others).

    Args:
        checkpoint: a run, the folder of a run or a fit, or a checkpoint file.
        *overrides: ``data=NAME`` and ``data.KEY=VALUE``, see :func:`evaluate`; none for the data of the run.
        against: another classifier, which is tested on the same clips.
        only: kinds of corruption, keys of :data:`audio_lightning.inference.corruptions.CORRUPTIONS`; none for all.
        clips: maximum number of test clips, drawn with ``seed``; None for all.
        seed: seed of the noise, the room impulse responses and the drawn clips.
        device: torch device, such as ``"cuda"``.
        output: folder for ``robustness.csv``, ``robustness.json`` and ``robustness.png``; not the folder of another
            run, a sweep or another fit.
        trust: see :func:`load`.
        config_dir: see :func:`compose`.

    Returns:
        One row per condition, the clean clips first; columns are the attributes of
        :class:`audio_lightning.inference.robustness.ConditionResult`.

    Example:
        >>> import audio_lightning as al
        >>> table = al.robustness("runs/first", only=["noise", "codec"], clips=200)  # doctest: +SKIP
        >>> table[["condition", "score", "difference"]]  # doctest: +SKIP
    """
    from audio_lightning.config import quote_paths
    from audio_lightning.core.files import check_free
    from audio_lightning.inference.hub import is_hub_name
    from audio_lightning.inference.robustness import as_table, write_robustness
    from audio_lightning.inference.robustness import robustness as measured
    from audio_lightning.run_folder import find_checkpoint

    if isinstance(checkpoint, Run):
        trust = trust or checkpoint.trust
    if output is not None:
        path = as_folder(checkpoint)
        own = path if is_hub_name(path) else find_checkpoint(path)
        check_free("output=", Path(output).expanduser(), own=own)
    rows = measured(
        as_folder(checkpoint),
        quote_paths(overrides),
        against=None if against is None else as_folder(against),
        only=only,
        clips=clips,
        seed=seed,
        device=device,
        trust=trust,
        config_dir=config_dir,
    )
    if output is not None:
        from audio_lightning.report.model_card import card_renewed

        folder = Path(output).expanduser()
        with card_renewed(folder):
            write_robustness(folder, rows)
    return as_table(rows)


def explain(
    classifier: "Classifier | Run | PathLike",
    recording: PathLike,
    *,
    class_name: str | None = None,
    method: "Method | None" = None,
    trust: Trust = None,
) -> "Explanation":
    """Explain a prediction: relevance over time and frequency, and the sound with and without the relevant part.

    Args:
        classifier: a loaded classifier, a run, or a path as in :func:`load`.
        recording: a file; in a long recording, the clip in which the class is most probable is explained.
        class_name: the class to explain; None for the most probable one.
        method: ``"gradcam"`` or ``"occlusion"``; None for Grad-CAM if the network is convolutional and its feature is a
            spectrogram, else occlusion.
        trust: see :func:`load`.

    Returns:
        Relevance ``[bands, frames]``; the probability of the class for the clip, for its most relevant tenth alone, and
        for the clip without it; and both parts as waveforms.

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
        ...     soundfile.write(f"{folder}/street.wav", numpy.random.default_rng(0).normal(0, 0.1, 8000), 8000)
        ...     explanation = al.explain(classifier, f"{folder}/street.wav", class_name="siren")
        >>> explanation.method, explanation.relevance.shape == explanation.marked.shape
        ('gradcam', True)
    """
    from audio_lightning.inference.explain import explain_recording

    path = Path(recording).expanduser()
    return explain_recording(as_classifier(classifier, trust), path, class_name=class_name, method=method)


def export(
    checkpoint: "Run | PathLike",
    output: PathLike,
    *overrides: str,
    format: str = "onnx",
    int8: bool = False,
    clips: PathLike | None = None,
    opset: int | None = None,
    trust: Trust = None,
    config_dir: PathLike | None = None,
) -> "Exported":
    """Export a classifier to ONNX or torch.export: one graph from waveforms to calibrated probabilities.

    The exported graph is compared with the classifier on real clips. The file is not written if a probability differs
    by more than 1e-4.

    Args:
        checkpoint: a run, the folder of a run or a fit, or a checkpoint file.
        output: the file to write: ``.onnx``; ``.pt2`` for ``torch-export``, ``.pte`` for ``executorch``, ``.tflite``
            for ``litert``.
        *overrides: ``data.KEY=VALUE``, if the data of the run is at another path.
        format: ``onnx``, ``torch-export``, ``executorch`` or ``litert``.
        int8: quantize the networks to eight-bit integers, calibrated on training clips; ONNX only.
        clips: folder with recordings for the comparison; None for the test clips of the run.
        opset: version of the ONNX operator set; None for the exporter's default.
        trust: see :func:`load`.
        config_dir: see :func:`compose`.

    Returns:
        An object with the attributes ``path``, ``megabytes``, ``parity``, ``any_length``, ``metadata`` and ``int8``.

    Example:
        It needs ``pip install 'audio-lightning[export]'``.

        >>> import audio_lightning as al
        >>> exported = al.export("runs/first", "first.onnx")  # doctest: +SKIP
        >>> exported.parity.max_difference < 1e-4  # doctest: +SKIP
        True
        >>> al.predict("first.onnx", "recordings")  # doctest: +SKIP
    """
    from audio_lightning.config import quote_paths
    from audio_lightning.inference.export.export import export as exported

    if isinstance(checkpoint, Run):
        trust, checkpoint = trust or checkpoint.trust, checkpoint.folder
    return exported(
        Path(checkpoint).expanduser(),
        Path(output).expanduser(),
        quote_paths(overrides),
        output_format=format,
        int8=int8,
        clips=None if clips is None else Path(clips).expanduser(),
        opset=opset,
        trust=trust,
        config_dir=config_dir,
    )
