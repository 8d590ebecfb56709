"""What goes with what, as tables: known without any audio, and the same as what a training finds."""

import re
import sys

import pytest
from typer.testing import CliRunner

from audio_lightning.catalog import cells, task_of
from audio_lightning.cli.main import app
from audio_lightning.config import choices, compose
from audio_lightning.errors import ConfigError
from audio_lightning.models import CNN, DNN
from audio_lightning.networks import check_networks
from audio_lightning.task import FeatureShape

CLIPS = ["data.sample_rate=8000", "data.clip_seconds=0.5"]


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.output


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if re.match(rf"│ {name} ", line))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_models_say_what_they_take_and_cost() -> None:
    text = output("models", *CLIPS, "--classes", "5")
    (cell,) = cells(["logmel"], ["cnn"], task_of(CLIPS, 5), [])
    network = CNN(cell.shape, 5)
    found = row(text, "cnn")
    assert found[1] == "logmel: spectrogram [1, 64, 51]"
    assert found[2] == f"{sum(parameter.numel() for parameter in network.parameters()):,}"
    assert int(found[3].replace(",", "")) == cell.macs > 1_000_000
    assert found[4] == "no"
    dense = DNN(FeatureShape("waveform", (1, 4000)), 5)
    assert row(text, "dnn")[1] == "waveform: waveform [1, 4000]"
    assert row(text, "dnn")[2] == f"{sum(parameter.numel() for parameter in dense.parameters()):,}"
    for name in choices("model"):
        assert row(text, name)


def test_features_say_what_they_give() -> None:
    text = output("features", *CLIPS, "feature.n_mels=32")
    assert row(text, "logmel")[1:] == ["spectrogram [1, 32, 51]", f"{32 * 51:,}"]
    assert row(text, "waveform")[1:] == ["waveform [1, 4000]", "4,000"]
    for name in choices("feature"):
        assert row(text, name)


def test_the_grid_agrees_with_what_a_training_says() -> None:
    task = task_of(CLIPS, 3)
    for cell in cells(["waveform", "logmel"], ["cnn", "dnn"], task, []):
        config = compose([f"feature={cell.feature}", f"model={cell.model}"])
        if cell.reason is None:
            check_networks(config, task)
        else:
            with pytest.raises(ConfigError) as caught:
                check_networks(config, task)
            assert str(caught.value) == cell.reason
    text = output("grid", *CLIPS)
    marks = dict(zip(choices("feature"), row(text, "cnn")[1:]))
    assert (marks["logmel"], marks["waveform"]) == ("ok", "-")


def test_a_model_whose_package_is_missing_has_the_reason_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    reason = "model=timm needs the package timm: pip install 'audio-lightning[timm]'"
    assert row(output("models", *CLIPS), "timm")[1:] == ["logmel", "-", "-", reason]
    text = output("grid", *CLIPS)
    number = row(text, "timm")[1:][choices("feature").index("logmel")]
    assert f"{number}: {reason}" in text.splitlines()


def test_a_picture_that_is_too_small_is_a_footnote() -> None:
    text = output("grid", "data.sample_rate=8000", "data.clip_seconds=0.03")
    number = row(text, "cnn")[1 + list(choices("feature")).index("logmel")]
    assert f"{number}: cnn needs at least 8 frames, and the feature gives a spectrogram [1, 64, 4]" in text


def test_other_keys_and_typos_are_refused() -> None:
    for argument, message in (("optimizer.lr=1.0", "makes no difference"), ("data=demoo", "did you mean demo")):
        result = CliRunner().invoke(app, ["models", argument])
        assert result.exit_code == 2
        assert message in result.output
