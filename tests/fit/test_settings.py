"""Settings of a fit: presets, short forms, durations."""

from pathlib import Path

import pytest

from audio_lightning.config.location import choices
from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.settings import FitSettings, parse_duration, read_settings, split_words
from audio_lightning.fit.surveying import absent_weights


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("20m", 1200),
        ("2h", 7200),
        ("1h30m", 5400),
        ("0.5h", 1800),
        ("5ms", 0.005),
        ("1s500ms", 1.5),
    ],
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert parse_duration(text, "budget") == seconds


@pytest.mark.parametrize("text", ["", "0", "-3m", "ten", "20 m", "20min", "m", "inf", "nan", "1e999"])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a time such as 90s, 20m"):
        parse_duration(text, "budget")


@pytest.mark.parametrize("preset", choices("fit"))
def test_every_preset_can_be_read(preset: str) -> None:
    settings = read_settings([f"fit={preset}"])
    assert settings.preset == preset
    assert settings.budget_seconds > 0
    assert next(iter(settings.chosen)) == "both"


def test_words_are_those_of_the_fit_or_of_its_trainings() -> None:
    words = ["data=folder", "preset=fast", "budget=3m", "metric=loss", "exclude=quick,pcen", "fit.dir=x", "seed=1"]
    own, others = split_words(words)
    assert own == ["fit=fast", "fit.budget=3m", "fit.metric=loss", "fit.exclude=[quick,pcen]", "fit.dir=x"]
    assert others == ["data=folder", "seed=1"]
    settings = read_settings(own)
    assert (settings.preset, settings.budget_seconds, settings.metric, settings.dir) == ("fast", 180, "loss", "x")
    assert "quick" not in settings.chosen


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fit=god", "preset=god: there is no such preset; did you mean good"),
        ("fit=excellent", r"preset=excellent: there is no such preset \(presets: best, fast, good\)"),
        ("fit.metric=acuracy", "metric=acuracy: no such metric; did you mean accuracy"),
        ("fit.budget=10", "budget=10: has no unit; expected a time such as 90s, 20m or 2h"),
        ("fit.budget=1.5", "budget=1.5: has no unit"),
        ("fit.budget=null", "fit.budget=.*: expected"),
        ("fit.budget=[1]", "fit.budget=.*: expected"),
        ("fit.infer_limit=0.005", "infer_limit=0.005: has no unit; expected a time such as 5ms or 0.5s"),
        ("fit.bugdet=3m", "did you mean fit.budget"),
        ("fit.budget=soon", "budget=soon"),
        ("fit.exclude=[quik]", "did you mean quick"),
        ("fit.exclude=[both,logmel,pcen,frozen,words,panns,efficientat,beats,quick]", "excludes all 9 candidates"),
        ("fit.max_members=0", "max_members"),
        ("fit.infer_limit=quick", "infer_limit=quick: expected a time such as 5ms"),
    ],
)
def test_a_mistake_is_one_line(line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        read_settings([line])
    assert "\n" not in str(raised.value)


def test_a_limit_of_a_prediction_is_a_time() -> None:
    own, _ = split_words(["infer_limit=5ms"])
    assert read_settings(own).limit_seconds == pytest.approx(0.005)
    assert read_settings([]).limit_seconds is None


def test_candidates_are_kept_in_their_order() -> None:
    settings = FitSettings(candidates={"a": ["model=cnn"], "b": ["model=lstm"]}, exclude=["a"])
    assert settings.chosen == {"b": ["model=lstm"]}


def test_weights_are_not_downloaded_for_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["experiment=frozen", "feature.backbone=cnn14"]
    assert absent_weights(own) == "cnn14 (327 MB from zenodo.org)"
    monkeypatch.setenv("AUDIO_LIGHTNING_WEIGHTS", str(tmp_path))
    (tmp_path / "Cnn14_mAP=0.431.pth").touch()
    assert absent_weights(own) is None
    assert absent_weights(["experiment=frozen"]) is None
    assert absent_weights(["experiment=auto"]) is None
