"""Suggested settings make features large enough."""

import choices
import pytest

from audio_lightning.config import choices as names
from audio_lightning.core.task import AudioTask
from audio_lightning.features.input_hints import enlarging_settings

TASK = AudioTask(("a", "b"), 16000, 4000)


def sizes(feature: str, settings: str) -> tuple[int, ...]:
    """Sizes of the features of a clip with command-line overrides."""
    options, samples = {}, TASK.num_samples
    for setting in settings.split():
        key, _, value = setting.partition("=")
        if key == "data.clip_seconds":
            samples = round(float(value) * TASK.sample_rate)
        else:
            options[key.removeprefix("feature.")] = float(value) if "." in value else int(value)
    return choices.front_end(feature, sample_rate=16000, num_samples=samples, **options).output_shape.dims[1:]


# What a published network gives has the size that it has.
@pytest.mark.parametrize("feature", [name for name in names("feature") if name != "embedding"])
@pytest.mark.parametrize(("more_bins", "more_frames"), [(17, 0), (0, 9), (5, 40)])
def test_suggested_settings_are_large_enough(feature: str, more_bins: int, more_frames: int) -> None:
    *bins, frames = sizes(feature, "")
    least = (*(size + more_bins for size in bins), frames + more_frames)

    alternatives = enlarging_settings(choices.load("feature", feature), TASK, least).split(" or ")

    if least != (*bins, frames):
        assert alternatives != [""]
        assert len(alternatives) == (2 if more_frames and feature != "waveform" else 1)
        for settings in alternatives:
            found = sizes(feature, settings)
            assert all(size >= needed for size, needed in zip(found, least)), settings
            assert found[-1] < 1.2 * least[-1], f"{settings} is more than is needed"


def test_suggestions_are_command_line_overrides() -> None:
    node = choices.load("feature", "logmel")
    assert enlarging_settings(node, TASK, (80, 10)) == "feature.n_mels=80"
    assert enlarging_settings(node, TASK, (64, 63)) == "feature.hop_seconds=0.004 or data.clip_seconds=0.62"
    node = {**choices.load("feature", "mfcc13")}
    assert enlarging_settings(node, TASK, (32, 10)) == "feature.n_mfcc=32 feature.n_mels=32"


def test_no_suggestion_if_no_setting_is_large_enough() -> None:
    node = choices.load("feature", "cqt")
    assert enlarging_settings(node, AudioTask(("a", "b"), 16000, 4000), (100_000, 10)) == ""
