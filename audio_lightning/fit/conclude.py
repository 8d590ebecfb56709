"""The end of a fit: out-of-fold predictions, the selected ensemble, what it will show, its file and its page."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from audio_lightning import __version__
from audio_lightning.classifier.ensemble_file import add_decisions, write_ensemble
from audio_lightning.compare.fit_summary import (
    CandidateState,
    FitCandidate,
    FitChoice,
    FitFolder,
    FitMachine,
    FitProperty,
    FitResult,
    FitSummary,
    LearningPoint,
    TimeSpent,
)
from audio_lightning.compare.trials import TrialFolder
from audio_lightning.core.errors import UserError
from audio_lightning.core.files import write_csv
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.fit.calibrating import calibrate, typed_method
from audio_lightning.fit.ensemble_selection import SelectionSettings
from audio_lightning.fit.learning_points import learning_points
from audio_lightning.fit.out_of_fold import PREFIX, OutOfFold, read_out_of_fold
from audio_lightning.fit.selection_bias import AfterSelection, correct_for_selection
from audio_lightning.fit.summary_run import log_fit
from audio_lightning.fit.time_limit import Answer, as_text, fewer_models, select_within
from audio_lightning.fit.tried import Tried
from audio_lightning.inference.clip_time import seconds_a_clip
from audio_lightning.inference.load import load_classifier
from audio_lightning.report.fit_page import write_fit_page
from audio_lightning.report.model_card import write_model_card
from audio_lightning.training.results import cross_fitted_thresholds


def conclude(folder: Path, tried: Tried, spent: float) -> str:
    """Select, and write everything that a fit leaves; for a process of its own.

    Args:
        folder: of the fit.
        tried: its trainings.
        spent: seconds of the fit so far.

    Returns:
        The answer in one sentence.

    Raises:
        ConfigError: a metric that ensembles cannot be selected by.
        DataError: no training left predictions that can be used.
    """
    started = time.monotonic()
    files, found = FitFolder(folder), tried.survey
    metric = tried.settings.metric or found.metrics[0]
    runs = {name: [TrialFolder(Path(path)) for path in paths] for name, paths in tried.runs.items()}
    every = read_out_of_fold(runs)
    predictions, left_out = every.complete()
    limit = tried.settings.limit_seconds
    answer = select_within(
        predictions,
        metric,
        SelectionSettings(max_members=tried.settings.max_members),
        {name: [*runs[name]] for name in predictions.candidates},
        {name: found.candidates[tried.names[name]].predict_seconds for name in predictions.candidates},
        limit,
        files.model,
        refit=tried.refit,
    )
    after = correct_for_selection(predictions, metric, answer.settings)
    calibrated = calibrate(predictions, answer.ensemble, runs, typed_method(tried.lines))
    add_decisions(
        files.model,
        thresholds=calibrated.thresholds,
        calibration=(calibrated.scale, calibrated.bias),
        validated=calibrated.validated,
    )
    _write_predictions(files, predictions, calibrated.probabilities)
    learning, note = _learning(tried, metric)
    summary = FitSummary(
        preset=tried.settings.preset,
        metric=metric,
        version=__version__,
        budget_seconds=tried.settings.budget_seconds,
        spent_seconds=round(spent + time.monotonic() - started, 1),
        multilabel=found.multilabel,
        command=tried.words,
        data=[line for line in tried.lines if line.startswith("data")],
        classes=found.classes,
        recordings=found.recordings,
        clips=found.clips,
        groups=found.groups,
        properties=[FitProperty(**row) for row in found.properties],
        choices=[FitChoice(**row) for row in found.choices],
        machine=FitMachine(found.machine.device, found.machine.cores, found.machine.memory_gb),
        folds=tried.folds,
        fold_origin=found.fold_origin,
        candidates=[_candidate(name, tried, runs.get(name, []), answer, left_out) for name in tried.names],
        result=_result(predictions, after),
        calibration=calibrated.summary,
        predict_ms=round(1000 * answer.seconds, 3),
        infer_limit_ms=None if limit is None else 1000 * limit,
        learning=learning,
        learning_note=note,
        time=[TimeSpent(what, seconds) for what, seconds in tried.times.items()],
        notes=[*_notes(tried, predictions), *answer.notes],
    )
    files.write_summary(summary)
    write_fit_page(folder)
    write_model_card(folder)
    if not tried.refit:
        log_fit(files, summary, tried.lines, tried.config_dir)
    return "; ".join([_sentence(summary), f"{as_text(answer.seconds)} a clip", *answer.notes])


def finish(
    folder: Path, lines: list[str], config_dir: str | None, models: dict[str, str], said: str, spent: float
) -> None:
    """Put models that were trained on all recordings into the file, and say so on the page; for a process of its own.

    Args:
        folder: of the fit, concluded with the models of the folds.
        lines: overrides of all trainings.
        config_dir: folder of ``--config-dir``.
        models: checkpoint of every member by name; none: the models of the folds stay.
        said: what the page says of it.
        spent: seconds of the fit so far.
    """
    started = time.monotonic()
    files = FitFolder(folder)
    summary = files.read_summary()
    if models:
        limit = None if summary.infer_limit_ms is None else summary.infer_limit_ms / 1000
        of_folds = {one.name: one.models or 0 for one in summary.selected}
        tested: dict[str, int] = dict.fromkeys(of_folds, summary.folds or 0)
        outdated = fewer_models(of_folds, tested, limit)
        summary.notes = [note for note in summary.notes if note not in outdated]
        members = [(models[one.name], one.weight or 0.0) for one in summary.selected]
        # Without validation there are no thresholds and no calibration but those of the models of the folds.
        of_models = load_classifier(files.model)
        write_ensemble(
            files.model,
            [Path(path) for path, _ in members],
            [weight for _, weight in members],
            thresholds=of_models.thresholds.tolist() if summary.multilabel else None,
            calibration=(of_models.calibration.scale, of_models.calibration.bias),
            validated=of_models.validated_clips,
        )
        summary.candidates = [replace(one, models=1) if one.name in models else one for one in summary.candidates]
        summary.predict_ms = round(1000 * seconds_a_clip(load_classifier(files.model)), 3)
        summary.refit = True
    summary.notes = list(dict.fromkeys([*summary.notes, said]))  # a kill may have come after this had been written
    summary.spent_seconds = round(spent + time.monotonic() - started, 1)
    files.write_summary(summary)
    write_fit_page(folder)
    write_model_card(folder)
    log_fit(files, summary, lines, config_dir)


def _candidate(
    name: str, tried: Tried, runs: list[TrialFolder], answer: Answer, left_out: dict[str, str]
) -> FitCandidate:
    one, ensemble = tried.survey.candidates[tried.names[name]], answer.ensemble
    monitor = f"validation/{tried.settings.metric or tried.survey.metrics[0]}"
    metrics = [run.read_metrics() for run in runs]
    scores = [float(found[monitor]) for found in metrics if found.get(monitor) is not None]
    reasons = {**tried.skipped, **tried.failed, **left_out, **tried.stopped}
    state: CandidateState = "trained"
    if name in ensemble.weights:
        state = "selected"
    elif name in tried.skipped:
        state = "skipped"
    elif name in tried.failed:
        state = "failed"
    elif name in tried.stopped or name in left_out:
        state = "stopped"
    return FitCandidate(
        name=name,
        title=one.title,
        overrides=tried.settings.candidates[tried.names[name]],
        state=state,
        why="" if state == "selected" else reasons.get(name, ""),
        validation=float(np.mean(scores)) if scores else None,
        out_of_fold=ensemble.single.get(name),
        weight=ensemble.weights.get(name),
        seconds=round(sum(run.read_status().seconds for run in runs), 1) if runs else None,
        step_ms=round(1000 * one.step_seconds, 1) if one.step_seconds else None,
        epochs=int(metrics[0]["epochs"]) if metrics else None,
        predict_ms=round(1000 * one.predict_seconds, 3) if one.predict_seconds else None,
        models=answer.models.get(name),
    )


def _learning(tried: Tried, metric: str) -> tuple[list[LearningPoint], str]:
    """The learning curve; none where its trainings left nothing to compare, which is no reason to have no answer."""
    name, paths = tried.learning
    try:
        return learning_points(name, [TrialFolder(Path(path)) for path in paths], metric)
    except UserError as error:
        print(f"there is no learning curve: {error}", flush=True)
        return [], ""


def _result(predictions: OutOfFold, after: AfterSelection) -> FitResult:
    known = (predictions.clips["group"] != predictions.clips["path"]).any()
    unit = "groups" if known else "recordings"
    return FitResult(
        metric=after.metric,
        expected=after.mean if np.isfinite(after.mean) else after.apparent,
        low=after.low,
        high=after.high,
        apparent=after.apparent,
        gap=after.gap if np.isfinite(after.mean) else None,
        whole_recordings=predictions.recordings,
        unit=f"{after.groups:,} {unit}",
    )


def _notes(tried: Tried, predictions: OutOfFold) -> list[str]:
    notes = list(tried.survey.notes)
    if predictions.num_clips is not None and predictions.num_tested < predictions.num_clips:
        notes.append(
            f"{predictions.num_tested:,} of {predictions.num_clips:,} clips were tested, those of {tried.folds} folds "
            f"of {len(tried.survey.folds)}: a larger budget tests more of them"
        )
    return notes


def _write_predictions(files: FitFolder, predictions: OutOfFold, probabilities: np.ndarray) -> None:
    classes = np.array(predictions.classes, dtype=object)
    if predictions.multilabel:
        targets = torch.from_numpy(predictions.targets)
        thresholds = cross_fitted_thresholds(torch.from_numpy(probabilities), targets, predictions.group).numpy()
        predicted = [LABEL_SEPARATOR.join(classes[row >= least]) for row, least in zip(probabilities, thresholds)]
    else:
        predicted = classes[probabilities.argmax(axis=1)].tolist()
    names = ["path", "group", "start_seconds", "end_seconds", "label"]
    columns = [predictions.clips[name].tolist() for name in names]
    write_csv(
        files.out_of_fold,
        [*names, "predicted", *(f"{PREFIX}{name}" for name in predictions.classes)],
        (
            [*cells, answer, *(f"{value:.6f}" for value in row)]
            for *cells, answer, row in zip(*columns, predicted, probabilities)
        ),
    )


def _sentence(summary: FitSummary) -> str:
    found = summary.result
    assert found is not None
    interval = f" ({found.low:.3f} to {found.high:.3f})" if found.low is not None and found.high is not None else ""
    what = "whole recordings" if found.whole_recordings else "clips"
    members = ", ".join(f"{candidate.name} {candidate.weight:.2f}" for candidate in summary.selected)
    return f"{found.metric} to expect on new {what}: {found.expected:.3f}{interval}; made of {members}"
