"""Limit of the prediction time per clip (``infer_limit``): candidates and numbers of models that are within it.

The ensemble of a fit averages the models of all tested folds of its members, so a member costs the time of one model
times the number of its models. With ``refit=true``, a member has a single model in the end. Members with equal front
ends compute the features once, and take less time than this estimate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.ensemble_selection import SelectedEnsemble, SelectionSettings, select_ensemble
from audio_lightning.fit.out_of_fold import OutOfFold
from audio_lightning.fit.survey import Survey
from audio_lightning.inference.clip_time import seconds_a_clip
from audio_lightning.inference.load import load_classifier
from audio_lightning.run_folder import RunFolder


def within_limit(found: Survey, limit: float | None) -> Survey:
    """Mark a candidate as impossible if a single model of it exceeds the limit.

    Args:
        found: survey with prediction times.
        limit: seconds per clip; None: no limit.

    Raises:
        ConfigError: no candidate is within the limit, even with one model.
    """
    if limit is None:
        return found
    seconds = {name: one.predict_seconds for name, one in found.candidates.items() if one.impossible is None}
    slow = too_slow(seconds, 1, limit)
    if len(slow) == len(seconds):
        quickest = min(seconds, key=lambda name: seconds[name])
        raise ConfigError(
            f"infer_limit={as_text(limit)}: no candidate predicts a clip in that time on this machine; the quickest is "
            f"{quickest}, {as_text(seconds[quickest])} with one model; set a higher limit"
        )
    candidates = {
        name: replace(one, impossible=slow.get(name, one.impossible)) for name, one in found.candidates.items()
    }
    return replace(found, candidates=candidates)


def too_slow(seconds: Mapping[str, float], models: int, limit: float) -> dict[str, str]:
    """Return the candidates that exceed the limit, as counted by :func:`fold_models`, with the reason.

    Args:
        seconds: prediction time per clip of one model of each candidate, in seconds.
        models: number of models of a candidate.
        limit: seconds per clip.
    """
    with_models = f" with the models of {models} folds" if models > 1 else ""
    return {
        name: f"predicting takes {as_text(models * one)} per clip{with_models}, above infer_limit={as_text(limit)}"
        for name, one in seconds.items()
        if name not in fold_models(seconds, models, limit)
    }


def fold_models(seconds: Mapping[str, float], folds: int, limit: float) -> dict[str, int]:
    """Return the number of models that each candidate may have in the ensemble: the models of all folds.

    Only if no candidate is within the limit with all models, each has as many as the limit allows. Candidates without
    any allowed model are left out.

    Args:
        seconds: prediction time per clip of one model of each candidate, in seconds.
        folds: number of models of a candidate.
        limit: seconds per clip.

    Returns:
        Number of models by the name of the candidate.
    """
    whole = {name: folds for name, one in seconds.items() if folds * one <= limit}
    return whole or {name: max(1, int(limit / one)) for name, one in seconds.items() if one <= limit}


@dataclass(frozen=True)
class Answer:
    """Final model of a fit.

    Attributes:
        ensemble: members and their weights.
        settings: settings of the selection.
        models: number of models of each member.
        seconds: measured prediction time per clip in seconds.
        notes: effects of the limit, one sentence each.
    """

    ensemble: SelectedEnsemble
    settings: SelectionSettings
    models: dict[str, int]
    seconds: float
    notes: list[str]


def select_within(
    predictions: OutOfFold,
    metric: str,
    settings: SelectionSettings,
    runs: Mapping[str, list[RunFolder]],
    seconds: Mapping[str, float],
    limit: float | None,
    file: Path,
    *,
    refit: bool = False,
) -> Answer:
    """Select an ensemble within the limit, and write it.

    The written model is timed. If it takes longer than the sum of its parts, selection is repeated with the times of
    all candidates scaled up accordingly.

    Args:
        predictions: predictions of the candidates, without gaps.
        metric: metric of the selection.
        settings: settings of the selection, without costs.
        runs: runs of every candidate, one per fold.
        seconds: prediction time per clip of one model of each candidate, in seconds.
        limit: seconds per clip; None: no limit.
        file: file of the model.
        refit: whether each member will have a single refitted model in the end.

    Raises:
        ConfigError: no candidate is within the limit.
    """
    slower, chosen = 1.0, None
    while True:
        times = {name: slower * seconds[name] for name in predictions.candidates}
        models, within = _affordable(times, {name: 1 if refit else len(runs[name]) for name in times}, settings, limit)
        if not models:
            break
        ensemble = select_ensemble(predictions, metric, within)
        if refit:
            most = math.inf if limit is None else limit / sum(times[name] for name in ensemble.weights)
            models = {name: max(1, int(min(most, len(runs[name])))) for name in ensemble.weights}
        members = [
            (run.best, weight / models[name])
            for name, weight in ensemble.weights.items()
            for run in runs[name][: models[name]]
        ]
        write_ensemble(file, [path for path, _ in members], [share for _, share in members])
        measured = seconds_a_clip(load_classifier(file))
        used = {name: models[name] for name in ensemble.weights}
        notes = fewer_models(used, {name: len(runs[name]) for name in used}, limit)
        chosen = Answer(ensemble, within, used, measured, notes)
        if limit is None or measured <= limit:
            return chosen
        expected = sum(times[name] * count for name, count in used.items())
        slower *= max(1.01, measured / expected)
    assert limit is not None
    if chosen is None:
        raise ConfigError(f"infer_limit={as_text(limit)}: no trained candidate is within the limit; set a higher limit")
    late = f"The model takes {as_text(chosen.seconds)} per clip, above infer_limit={as_text(limit)}: timings vary."
    return replace(chosen, notes=[*chosen.notes, late])


def _affordable(
    seconds: Mapping[str, float], folds: Mapping[str, int], settings: SelectionSettings, limit: float | None
) -> tuple[dict[str, int], SelectionSettings]:
    """Return the allowed number of models of each candidate, and the settings with their costs."""
    if limit is None:
        return dict(folds), settings
    number = max(folds.values())
    models = fold_models(seconds, number, limit)
    few = any(count < number for count in models.values())
    costs = tuple(models.get(name, number) * one for name, one in seconds.items())
    most = 1 if few else settings.max_members
    return models, replace(settings, max_members=most, costs=costs, most_cost=limit)


def fewer_models(models: Mapping[str, int], folds: Mapping[str, int], limit: float | None) -> list[str]:
    """List the members with fewer models than tested folds, one sentence each."""
    return [
        f"{name} has {count} of the models of its {folds[name]} folds, because of infer_limit={as_text(limit or 0)}"
        for name, count in models.items()
        if count < folds[name]
    ]


def as_text(seconds: float) -> str:
    """Format seconds as milliseconds, such as ``5ms``."""
    return f"{1000 * seconds:.3g}ms"
