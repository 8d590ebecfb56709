"""Detections, suggestions, robustness and explanations of trained classifiers, and their export."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from audio_lightning.api.opening import as_classifier, as_folder, as_paths, as_recordings
from audio_lightning.api.training import PathLike, Run, Trust
from audio_lightning.core.task import LABEL_SEPARATOR

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
    merge_gap_seconds: float = 0.0,
    min_duration_seconds: float = 0.0,
    smoothing: "Smoothing" = "median",
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    batch_size: int = 32,
    trust: Trust = None,
) -> pd.DataFrame:
    """Detect events: where in recordings of any length a class is, from its onset to its offset.

    Args:
        classifier: a loaded one, a run, or where one lies.
        recordings: files, and folders to look through.
        threshold: probability that an event reaches: a number, ``auto`` for the best F1 on the validation clips, or
            both by class, where ``""`` stands for all others.
        ignore: classes that are not reported, beside those that mean no event, such as ``background``.
        merge_gap_seconds: longest gap within an event.
        min_duration_seconds: shortest event.
        smoothing: of the scores of overlapping windows: ``median``, ``mean`` or ``none``.
        window_seconds: of a window; by default a clip of the training.
        hop_seconds: from window to window; by default a quarter of a window.
        batch_size: windows at once.
        trust: see :func:`load`.

    Returns:
        One row an event: ``path``, ``start_seconds``, ``end_seconds``, ``label``, ``confidence`` (its highest
        probability), and ``error`` for a recording that cannot be read.
    """
    from audio_lightning.inference.detect import DetectionPlan, detect_all, make_jobs, to_frame
    from audio_lightning.inference.events import EventSettings
    from audio_lightning.inference.thresholds import choose_thresholds

    loaded = as_classifier(classifier, trust)
    thresholds, _ = choose_thresholds(loaded, threshold, list(ignore))
    settings = EventSettings(thresholds, smoothing, merge_gap_seconds, min_duration_seconds)
    plan = DetectionPlan(settings, window_seconds, hop_seconds, batch_size).resolved(loaded)
    several = [recordings] if isinstance(recordings, (str, Path)) else recordings
    jobs = make_jobs([Path(path).expanduser() for path in several])
    return to_frame(detect_all(loaded, jobs, plan))


def evaluate_events(
    detections: pd.DataFrame, reference: "pd.DataFrame | PathLike", recordings: PathLike | Iterable[PathLike]
) -> dict[str, float]:
    """Compare detected events with annotated ones.

    Args:
        detections: as :func:`detect` returns them.
        reference: a table with ``path``, ``start_seconds``, ``end_seconds`` and ``label``; or a file of annotations, or
            a folder with one for each recording, as Raven and Audacity write them.
        recordings: as they were given to :func:`detect`, since those without events count, too.

    Returns:
        See :func:`audio_lightning.inference.event_metrics.evaluate_events`.
    """
    from audio_lightning.audio import describe
    from audio_lightning.inference.event_metrics import evaluate_events as evaluated
    from audio_lightning.inference.event_metrics import read_reference

    paths = as_recordings(recordings)
    if isinstance(reference, (str, Path)):
        reference = read_reference(Path(reference).expanduser(), paths)
    return evaluated(detections, reference, seconds={str(path): describe(path).duration_seconds for path in paths})


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
    """Choose the windows of unlabelled recordings that are worth a label: uncertain and unlike each other.

    Args:
        classifier: a loaded one, a run, or where one lies.
        recordings: files, and folders to look through.
        number: of windows.
        like: a clip; then the recordings with the most similar window are chosen.
        labelled: tables of earlier suggestions, which are left out.
        seed: of the draws.
        window_seconds: of a window; see :func:`predict`.
        hop_seconds: from window to window; likewise.
        batch_size: windows at once.
        trust: see :func:`load`.

    Returns:
        One row a window, the most important first: ``path``, ``start_seconds``, ``end_seconds``, ``label`` (empty, to
        fill in), ``predicted``, ``probability`` and ``score``. Paths are relative to the folder where one was named.
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
    """Test a classifier on corrupted test clips: noise, level, reverberation, codecs, telephone, shift and the like.

    Args:
        checkpoint: a run, the folder of a run or a fit, or a checkpoint file.
        *overrides: ``data=NAME`` and ``data.KEY=VALUE``, see :func:`evaluate`; none: the data of the run.
        against: another classifier, which is tested on the same clips.
        only: kinds of corruption; none: all.
        clips: most test clips, drawn by ``seed``; None: all.
        seed: of noise, rooms and drawn clips.
        device: such as ``"cuda"``.
        output: folder for ``robustness.csv``, ``robustness.json`` and ``robustness.png``.
        trust: see :func:`load`.
        config_dir: folder with YAML files of the user's own, laid out like ``conf/``.

    Returns:
        One row a condition, the clean clips first; columns are the attributes of
        :class:`audio_lightning.inference.robustness.ConditionResult`.
    """
    from audio_lightning.config import quote_paths
    from audio_lightning.inference.robustness import as_table, write_robustness
    from audio_lightning.inference.robustness import robustness as measured

    if isinstance(checkpoint, Run):
        trust = trust or checkpoint.trust
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
    """Which part of a recording decided: relevance over time and frequency, and the sound with and without it.

    Args:
        classifier: a loaded one, a run, or where one lies.
        recording: a file; of a long one, the clip in which the class is most probable is explained.
        class_name: the class; None: the most probable one.
        method: ``"gradcam"`` or ``"occlusion"``; None: the former for convolutional networks on spectrograms.
        trust: see :func:`load`.
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
    """Write a classifier as one graph, from waveforms to calibrated probabilities, for other runtimes.

    It is compared with the classifier on real clips, and not written if a probability differs by more than 1e-4.

    Args:
        checkpoint: a run, the folder of a run or a fit, or a checkpoint file.
        output: the file: ``.onnx``, or ``.pt2`` for ``torch-export``.
        *overrides: ``data.KEY=VALUE``, where the data of the run is elsewhere now.
        format: ``onnx`` or ``torch-export``.
        int8: the networks in integers, calibrated on training clips; ONNX only.
        clips: folder with recordings to compare on; by default the test clips of the run.
        opset: version of the operators of ONNX; None for that of the exporter.
        trust: see :func:`load`.
        config_dir: folder with YAML files of the user's own, laid out like ``conf/``.

    Returns:
        ``path``, ``megabytes``, ``parity``, ``any_length``, ``metadata`` and ``int8``.
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
        clips=None if clips is None else Path(clips),
        opset=opset,
        trust=trust,
        config_dir=config_dir,
    )
