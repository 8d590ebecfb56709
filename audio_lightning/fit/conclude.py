"""End of a fit: select the ensemble, estimate its expected metric, calibrate it, and write model, summary and page."""

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
from audio_lightning.fit.announce import few_steps, over_budget
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
    """Select the ensemble, and write all output of a fit. Call it in a separate process.

    Args:
        folder: folder of the fit.
        tried: trainings of the fit.
        spent: seconds of the fit so far.

    Returns:
        The result in one sentence.

    Raises:
        ConfigError: ensembles cannot be selected by the metric.
        DataError: no training has usable predictions.
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
    summary.notes += over_budget(summary)
    files.write_summary(summary)
    write_fit_page(folder)
    write_model_card(folder)
    if not tried.refit:
        log_fit(files, summary, tried.lines, tried.config_dir)
    return "; ".join([_sentence(summary), f"{as_text(answer.seconds)} per clip", *answer.notes])


def finish(
    folder: Path, lines: list[str], config_dir: str | None, models: dict[str, str], note: str, spent: float
) -> None:
    """Replace the models of the folds by those trained on all recordings, and update the page.

    Call it in a separate process.

    Args:
        folder: folder of the fit, which was concluded with the models of the folds.
        lines: overrides of all trainings.
        config_dir: folder of ``--config-dir``.
        models: checkpoint of every member by name; empty: the models of the folds are kept.
        note: note for the page.
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
        summary.notes = [one for one in summary.notes if one not in outdated]
        members = [(models[one.name], one.weight or 0.0) for one in summary.selected]
        # Trained without validation clips, so thresholds, calibration and durations are those of the models of the
        # folds.
        of_models = load_classifier(files.model)
        write_ensemble(
            files.model,
            [Path(path) for path, _ in members],
            [weight for _, weight in members],
            thresholds=of_models.thresholds.tolist() if summary.multilabel else None,
            calibration=(of_models.calibration.scale, of_models.calibration.bias),
            validated=of_models.validated_clips,
            sounding_seconds=of_models.sounding_seconds,
        )
        summary.candidates = [replace(one, models=1) if one.name in models else one for one in summary.candidates]
        summary.predict_ms = round(1000 * seconds_a_clip(load_classifier(files.model)), 3)
        summary.refit = True
    before = over_budget(summary)
    summary.spent_seconds = round(spent + time.monotonic() - started, 1)
    # An interrupted call may have written the note already.
    kept = [one for one in summary.notes if one not in before]
    summary.notes = list(dict.fromkeys([*kept, note, *over_budget(summary)]))
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
    """Return the learning curve; an error is printed and gives no curve, because the model does not need it."""
    name, paths = tried.learning
    try:
        return learning_points(name, [TrialFolder(Path(path)) for path in paths], metric)
    except UserError as error:
        print(f"no learning curve: {error}", flush=True)
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
    if too_few := few_steps(tried.steps):
        notes.append(too_few)
    if predictions.num_clips is not None and predictions.num_tested < predictions.num_clips:
        notes.append(
            f"{predictions.num_tested:,} of {predictions.num_clips:,} clips of the recordings were tested, in "
            f"{tried.folds} of {len(tried.survey.folds)} folds; a larger budget tests more of them"
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
    return f"expected {found.metric} on new {what}: {found.expected:.3f}{interval}; members: {members}"
