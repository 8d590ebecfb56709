"""Thresholds of detection."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from audio_lightning.classifier.validated import ValidatedClips
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.thresholds import DEFAULT, choose_thresholds

CLASSES = ("_background_noise_", "dog", "Silence", "wren")


def classifier(**values: Any) -> Any:
    """A minimal classifier with the attributes that thresholds need."""
    task = SimpleNamespace(classes=CLASSES, multilabel=values.pop("multilabel", False))
    defaults = {"activate": lambda logits: logits.softmax(1), "device": "cpu", "validated_clips": None}
    return SimpleNamespace(task=task, **{**defaults, **values})


def clips(probabilities: list[list[float]], targets: list[int]) -> ValidatedClips:
    return ValidatedClips(torch.tensor(probabilities).log(), torch.tensor(targets))


def test_auto_has_the_best_f1_of_each_class_against_the_others() -> None:
    seen = clips([[0.1, 0.7, 0.1, 0.1], [0.1, 0.5, 0.1, 0.3], [0.2, 0.1, 0.1, 0.6], [0.1, 0.4, 0.1, 0.4]], [1, 1, 3, 3])
    found, notes = choose_thresholds(classifier(validated_clips=seen))
    assert list(found) == ["dog", "wren"]
    assert found["dog"] == pytest.approx(0.45), "between 0.4 of a wren and 0.5 of a dog"
    assert found["wren"] == pytest.approx(0.35)
    (note,) = notes
    assert "not reported: _background_noise_, Silence" in note


def test_auto_without_validation_clips_is_reported() -> None:
    found, notes = choose_thresholds(classifier())
    assert found == {"dog": DEFAULT, "wren": DEFAULT}
    assert "no validation clips" in notes[0]


def test_auto_of_several_labels_is_that_of_the_classifier() -> None:
    found, _ = choose_thresholds(classifier(multilabel=True, thresholds=torch.tensor([0.1, 0.25, 0.3, 0.0])))
    assert found == {"dog": 0.25, "wren": 1e-6}, "a threshold of 0 would make everything an event"


def test_thresholds_as_typed() -> None:
    found, _ = choose_thresholds(classifier(), ["0.6", "dog=0.7", "Silence=0.9"])
    assert found == {"dog": 0.7, "Silence": 0.9, "wren": 0.6}
    found, _ = choose_thresholds(classifier(), {"": 0.6, "dog": 0.7})
    assert found == {"dog": 0.7, "wren": 0.6}


def test_classes_are_ignored() -> None:
    found, _ = choose_thresholds(classifier(), 0.5, ["dog"])
    assert list(found) == ["wren"]


@pytest.mark.parametrize("given", [0.0, 1.5, float("nan"), "automatic", {"": 0.5, "dgo": 0.5}, {"dog": 0.0}])
def test_invalid_probabilities_and_classes_are_rejected(given: Any) -> None:
    with pytest.raises(ConfigError):
        choose_thresholds(classifier(), given)


def test_the_closest_class_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"^--threshold dgo=0\.5: no such class; did you mean dog\?$"):
        choose_thresholds(classifier(), {"dgo": 0.5})
    with pytest.raises(ConfigError, match=r"--threshold dog=x: expected"):
        choose_thresholds(classifier(), ["dog=x"])
    with pytest.raises(ConfigError, match=r"^--ignore dgo: no such class; did you mean dog\?$"):
        choose_thresholds(classifier(), 0.5, ["dgo"])
    with pytest.raises(ConfigError, match="no class is left"):
        choose_thresholds(classifier(), 0.5, ["dog", "wren"])
