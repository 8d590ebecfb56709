"""What predicting may take a clip: which candidates, and how many models of their folds, keep to it.

The answer of a fit is the mean of the models of all tested folds of its members, so that a member costs as many times
what one of its models takes; once, where it is trained on all recordings in the end (``refit=true``). Members whose
front ends are the same compute them once, and take less than this.
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
    """The survey, where candidates of which a single model takes longer cannot be tried, with the reason.

    Args:
        found: with what predicting takes each candidate.
        limit: seconds a clip; None: any time.

    Raises:
        ConfigError: no candidate keeps to it, even with one model.
    """
    if limit is None:
        return found
    seconds = {name: one.predict_seconds for name, one in found.candidates.items() if one.impossible is None}
    slow = too_slow(seconds, 1, limit)
    if len(slow) == len(seconds):
        quickest = min(seconds, key=lambda name: seconds[name])
        raise ConfigError(
            f"infer_limit={as_text(limit)}: no candidate predicts a clip in that time on this machine; the quickest is "
            f"{quickest}, {as_text(seconds[quickest])} with one model: set a higher limit"
        )
    candidates = {
        name: replace(one, impossible=slow.get(name, one.impossible)) for name, one in found.candidates.items()
    }
    return replace(found, candidates=candidates)


def too_slow(seconds: Mapping[str, float], models: int, limit: float) -> dict[str, str]:
    """Candidates that are in no answer within the limit, as :func:`fold_models` counts, and why.

    Args:
        seconds: what a model of each candidate takes a clip.
        models: of a candidate.
        limit: seconds a clip.
    """
    with_models = f" with the models of {models} folds" if models > 1 else ""
    return {
        name: f"predicting takes {as_text(models * one)} a clip{with_models}, above infer_limit={as_text(limit)}"
        for name, one in seconds.items()
        if name not in fold_models(seconds, models, limit)
    }


def fold_models(seconds: Mapping[str, float], folds: int, limit: float) -> dict[str, int]:
    """How many models each candidate may have in the answer: those of all folds.

    Only where no candidate keeps to the limit so, they have as many as keep to it; those with none are left out.

    Args:
        seconds: what a model of each candidate takes a clip.
        folds: models of a candidate.
        limit: seconds a clip.
    """
    whole = {name: folds for name, one in seconds.items() if folds * one <= limit}
    return whole or {name: max(1, int(limit / one)) for name, one in seconds.items() if one <= limit}


@dataclass(frozen=True)
class Answer:
    """The model of a fit.

    Attributes:
        ensemble: its members and their weights.
        settings: by which they were selected.
        models: how many models each member has.
        seconds: what it takes a clip, measured.
        notes: what the limit has changed, in sentences.
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
    """Select an ensemble that keeps to the limit, and write it.

    The answer is measured, too: where it takes longer than its parts did, it is selected again from parts that take as
    much longer.

    Args:
        predictions: of the candidates, without gaps.
        metric: by which is selected.
        settings: of the selection, without costs.
        runs: of every candidate, one for each fold.
        seconds: what a model of each candidate takes a clip.
        limit: seconds a clip; None: any time.
        file: the model's.
        refit: whether one model of each member will answer in the end, and those of the folds only until then.

    Raises:
        ConfigError: no candidate keeps to the limit.
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
        raise ConfigError(
            f"infer_limit={as_text(limit)}: no candidate that was trained keeps to it; set a higher limit"
        )
    late = f"The model takes {as_text(chosen.seconds)} a clip, above infer_limit={as_text(limit)}: it took less before."
    return replace(chosen, notes=[*chosen.notes, late])


def _affordable(
    seconds: Mapping[str, float], folds: Mapping[str, int], settings: SelectionSettings, limit: float | None
) -> tuple[dict[str, int], SelectionSettings]:
    """Models of each candidate that the answer may have, and the settings with what these cost."""
    if limit is None:
        return dict(folds), settings
    number = max(folds.values())
    models = fold_models(seconds, number, limit)
    few = any(count < number for count in models.values())
    costs = tuple(models.get(name, number) * one for name, one in seconds.items())
    most = 1 if few else settings.max_members
    return models, replace(settings, max_members=most, costs=costs, most_cost=limit)


def fewer_models(models: Mapping[str, int], folds: Mapping[str, int], limit: float | None) -> list[str]:
    """Which members have fewer models than folds were tested, in sentences."""
    return [
        f"{name} has {count} of the models of its {folds[name]} folds, to keep to infer_limit={as_text(limit or 0)}"
        for name, count in models.items()
        if count < folds[name]
    ]


def as_text(seconds: float) -> str:
    """Milliseconds, as they are shown."""
    return f"{1000 * seconds:.3g}ms"
