"""Limit of the prediction time: candidates and numbers of models within it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from generated_predictions import generated

from audio_lightning.core.errors import ConfigError
from audio_lightning.fit import time_limit
from audio_lightning.fit.ensemble_selection import SelectionSettings
from audio_lightning.fit.survey import Machine, Survey, Surveyed
from audio_lightning.fit.time_limit import Answer, fold_models, select_within, too_slow, within_limit
from audio_lightning.run_folder import RunFolder

SECONDS = {"candidate 00": 0.004, "candidate 01": 0.002, "candidate 02": 0.001}


def survey(folds: int = 4) -> Survey:
    candidates = {name: Surveyed(name, 0.1, 10, predict_seconds=one) for name, one in SECONDS.items()}
    candidates["broken"] = Surveyed("broken", 0.0, 1, "no weights")
    machine = Machine("CPU", 2, 8.0)
    return Survey([], [], machine, candidates, [[]] * folds, "made", ["a", "b"], False, 10, 10, None, [])


def test_candidates_keep_all_fold_models_if_possible() -> None:
    assert fold_models(SECONDS, 4, 0.016) == dict.fromkeys(SECONDS, 4)
    assert fold_models(SECONDS, 4, 0.008) == {"candidate 01": 4, "candidate 02": 4}
    assert fold_models(SECONDS, 4, 0.0035) == {"candidate 01": 1, "candidate 02": 3}
    assert fold_models(SECONDS, 4, 0.001) == {"candidate 02": 1}
    assert fold_models(SECONDS, 4, 0.0009) == {}


def test_candidates_above_the_limit_are_not_tried() -> None:
    assert within_limit(survey(), None) == survey()
    found = within_limit(survey(), 0.003).candidates
    assert found["candidate 00"].impossible == "predicting takes 4ms per clip, above infer_limit=3ms"
    assert [one.impossible for one in found.values()][1:] == [None, None, "no weights"]


def test_it_depends_on_the_number_of_models() -> None:
    assert too_slow(SECONDS, 1, 0.009) == {}
    assert too_slow(SECONDS, 4, 0.009) == {
        "candidate 00": "predicting takes 16ms per clip with the models of 4 folds, above infer_limit=9ms"
    }
    assert too_slow(SECONDS, 4, 0.0035).keys() == {"candidate 00"}  # no candidate keeps to it with 4 models


def test_a_limit_below_all_candidates_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"the quickest is candidate 02, 1ms with one model; set a higher limit"):
        within_limit(survey(), 0.0005)


def selected(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, slower: float = 1.0, most: int = 3, *, refit: bool = False
) -> tuple[Answer, list[str]]:
    """Selection and written models, if the ensemble takes longer than the sum of its parts by a factor."""
    written: list[str] = []

    def write(file: Path, members: list[Path], weights: list[float]) -> None:
        assert sum(weights) == pytest.approx(1)
        written[:] = [path.parent.parent.name for path in members]

    def measure(classifier: Any) -> float:
        return slower * sum(SECONDS[name.partition("/")[0].rpartition(" fold")[0]] for name in written)

    monkeypatch.setattr(time_limit, "write_ensemble", write)
    monkeypatch.setattr(time_limit, "load_classifier", lambda file: SimpleNamespace())
    monkeypatch.setattr(time_limit, "seconds_a_clip", measure)
    predictions = generated([1.2, 1.0, 1.0], 300)
    runs = {name: [RunFolder(Path(f"{name} fold{fold}")) for fold in range(4)] for name in SECONDS}
    settings = SelectionSettings(max_members=most)
    file = Path("model.ckpt")
    return select_within(predictions, "accuracy", settings, runs, SECONDS, limit, file, refit=refit), written


def test_without_a_limit_all_models_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, written = selected(monkeypatch, None)
    assert answer.models == dict.fromkeys(answer.ensemble.weights, 4)
    assert len(written) == 4 * len(answer.models) == 12
    assert answer.notes == []


@pytest.mark.parametrize(
    ("limit", "models"), [(0.0125, {"candidate 01": 4, "candidate 02": 4}), (0.005, {"candidate 02": 4})]
)
def test_members_keep_to_the_limit(limit: float, models: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    answer, _ = selected(monkeypatch, limit)
    assert answer.models == models
    assert answer.seconds <= limit
    assert answer.notes == []


def test_with_refit_each_member_counts_as_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, written = selected(monkeypatch, 0.0071, refit=True)
    assert len(answer.models) == 3  # 7 ms with one model each
    assert set(answer.models.values()) == {1}
    assert len(written) == 3
    answer, _ = selected(monkeypatch, None, refit=True)
    assert set(answer.models.values()) == {4}


def test_fewer_models_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, written = selected(monkeypatch, 0.0038)
    assert answer.models == {"candidate 02": 3}
    assert len(written) == 3
    assert answer.notes == ["candidate 02 has 3 of the models of its 4 folds, because of infer_limit=3.8ms"]


def test_selection_is_repeated_if_the_model_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, _ = selected(monkeypatch, 0.0125, slower=1.5)
    assert answer.models == {"candidate 02": 4}
    assert answer.seconds <= 0.0125


def test_a_model_that_stays_too_slow_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, _ = selected(monkeypatch, 0.0045, slower=100)
    assert list(answer.models) == ["candidate 02"]
    assert "above infer_limit=4.5ms" in answer.notes[-1]
