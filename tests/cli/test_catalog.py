"""Catalog of models and features, computed without audio, consistent with trainings."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audio_lightning.classifier.catalog import cells, task_of
from audio_lightning.classifier.factory import check_networks
from audio_lightning.cli.main import app
from audio_lightning.config import choices, compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.cnn import CNN
from audio_lightning.models.dnn import DNN
from audio_lightning.models.pretrained.package_files import PackageFile

CLIPS = ["data.sample_rate=8000", "data.clip_seconds=0.5"]


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.output


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
    return re.split(r" {2,}", line.strip())


def test_models_list_inputs_and_costs() -> None:
    text = output("models", *CLIPS, "--classes", "5")
    (cell,) = cells(["logmel"], ["cnn"], task_of(CLIPS, 5), [])
    network = CNN(cell.shape, 5)
    found = row(text, "cnn")
    assert found[1] == "logmel [1, 64, 51]"
    assert found[2] == f"{sum(parameter.numel() for parameter in network.parameters()):,}"
    assert int(found[3].replace(",", "")) == cell.macs > 1_000_000
    assert found[4] == "no"
    dense = DNN(FeatureShape("waveform", (1, 4000)), 5)
    assert row(text, "dnn")[1] == "waveform [1, 4000]"
    assert row(text, "dnn")[2] == f"{sum(parameter.numel() for parameter in dense.parameters()):,}"
    for name in choices("model"):
        assert row(text, name)


def test_features_list_shapes() -> None:
    text = output("features", *CLIPS, "feature.n_mels=32")
    assert row(text, "logmel")[1:] == ["spectrogram [1, 32, 51]", f"{32 * 51:,}"]
    assert row(text, "waveform")[1:] == ["waveform [1, 4000]", "4,000"]
    for name in choices("feature"):
        assert row(text, name)


def test_compatibility_agrees_with_training() -> None:
    task = task_of(CLIPS, 3)
    for cell in cells(["waveform", "spectrogram_flat", "logmel"], ["cnn", "dnn", "conv1d", "sincnet"], task, []):
        config = compose([f"feature={cell.feature}", f"model={cell.model}"])
        if cell.reason is None:
            check_networks(config, task)
        else:
            with pytest.raises(ConfigError) as caught:
                check_networks(config, task)
            assert str(caught.value) == cell.reason
    text = output("compatibility", *CLIPS, "model=cnn")
    marks = dict(zip(choices("feature"), row(text, "cnn")[1:]))
    assert (marks["logmel"], marks["waveform"]) == ("ok", "-")


def test_a_model_whose_package_is_missing_has_the_reason_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    reason = "model=timm needs the package timm; pip install 'audio-lightning[timm]'"
    text = output("models", *CLIPS, "model=timm")
    assert row(text, "timm")[1:] == ["logmel", "-", "-", "-"]
    assert f"timm: {reason}" in text.splitlines()
    text = output("compatibility", *CLIPS, "model=timm")
    number = row(text, "timm")[1:][choices("feature").index("logmel")]
    assert f"{number}: {reason}" in text.splitlines()


def test_too_small_inputs_are_footnotes() -> None:
    text = output("compatibility", "data.sample_rate=8000", "data.clip_seconds=0.03", "model=cnn,resnet")
    number = row(text, "cnn")[1 + list(choices("feature")).index("logmel")]
    assert f"{number}: cnn needs at least 8 frames, and the feature gives a spectrogram [1, 64, 4]" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "models seed=1",
            "seed: has no effect on this command; give only keys of data, feature, model and ensemble",
        ),
        ("features model=cnn", "model: has no effect on this command; give only keys of data and feature"),
        (
            "compatibility ensemble.num_members=2",
            "ensemble.num_members: has no effect on this command; give only keys of data, feature and model",
        ),
        ("models data=demoo", "did you mean demo"),
        ("models model=cnn,resnt", "model=resnt: there is no such model; did you mean resnet?"),
        ("compatibility feature=logmell", "did you mean logmel"),
        ("models model=cnn,lstm model.depth=1", "there is no key model.depth"),
        ("models ensemble.num_members=0", "ensemble.num_members=0: expected a whole number, at least 1"),
        ("features data.clip_seconds=0", "data.clip_seconds=0: expected more than 0"),
        ("compatibility data.sample_rate=-1", "data.sample_rate=-1: expected more than 0"),
        (
            "models experiment=speech12_conv1d",
            "experiment=speech12_conv1d: a recipe has one model and one feature, but this command compares all; for "
            "clips like its own, give data.sample_rate=8000 data.clip_seconds=1.0 data.padding=zero",
        ),
    ],
)
def test_invalid_overrides_are_reported_in_one_line(line: str, message: str) -> None:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def rows(text: str) -> list[list[str]]:
    lines = text.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("for clips of "))
    return [re.split(r" {2,}", line.strip()) for line in lines[1:end]]


def test_ensemble_costs_are_sums() -> None:
    (one,), (three,) = (rows(output("models", *CLIPS, "model=cnn", *more)) for more in ([], ["ensemble.num_members=3"]))
    for number in (2, 3):
        assert int(three[number].replace(",", "")) == 3 * int(one[number].replace(",", ""))


def test_named_choices_are_the_only_rows() -> None:
    found = rows(output("models", *CLIPS, "model=lstm,cnn", "feature=mfcc,logmel"))
    assert [(name, on.partition(" ")[0]) for name, on, *_ in found] == [
        ("lstm", "mfcc"), ("lstm", "logmel"), ("cnn", "mfcc"), ("cnn", "logmel")
    ]  # fmt: skip
    assert [name for name, *_ in rows(output("features", *CLIPS, "feature=waveform"))] == ["waveform"]
    text = output("compatibility", *CLIPS, "model=cnn,dnn", "feature=waveform")
    assert rows(text) == [["cnn", "-"], ["dnn", "ok"]]


def test_options_apply_without_a_named_feature() -> None:
    ((_, _, narrow, *_),) = rows(output("models", *CLIPS, "model=cnn", "model.hidden_dim=16"))
    ((_, _, wide, *_),) = rows(output("models", *CLIPS, "model=cnn", "feature=logmel", "model.hidden_dim=32"))
    assert int(narrow.replace(",", "")) < int(wide.replace(",", ""))
    text = output("models", *CLIPS, "model=transformer", "model.stride=0")
    assert rows(text)[0][2:] == ["-", "-", "-"]
    assert "\ntransformer: model: Transformer cannot compute on a spectrogram" in text
    # A key applies only to the models that have it.
    found = rows(output("models", *CLIPS, "model=lstm,cnn", "feature=logmel", "model.batch_norm=false"))
    assert [name for name, *_ in found] == ["lstm", "cnn"]


def test_tables_in_a_pipe_are_not_wrapped() -> None:
    for arguments in (["models", "model=conv1d_vgg,cnn"], ["compatibility", "model=cnn"]):
        result = CliRunner().invoke(app, [*arguments, *CLIPS], env={"COLUMNS": None})
        assert [name for name, *_ in rows(result.output)] == arguments[1].partition("=")[2].split(",")


def test_models_recommends_a_first_choice() -> None:
    begin, line = output("models", "model=cnn", *CLIPS).splitlines()[-2:]
    assert begin.startswith("Start with cnn, which is fast. matchboxnet (words) and panns (other sounds)")
    named = re.findall(r"model=(\S+)", line)[0].split(",")
    assert set(named) <= set(choices("model"))
    assert "cnn" in named
    assert {"best_speech", "best_urbansound", "best_instruments"} <= set(choices("experiment"))


def test_on_a_terminal_a_model_has_one_line() -> None:
    result = CliRunner().invoke(app, ["models", *CLIPS, "model=conv1d_vgg_skip,timm,cnn"], env={"COLUMNS": "80"})
    assert [line.split()[0] for line in result.output.splitlines()[1:4]] == ["conv1d_vgg_skip", "timm", "cnn"]


@pytest.mark.parametrize("arguments", [["sweep", "model=resnt"], ["train", "model=resnt"]])
def test_train_and_sweep_are_commands_too(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert CliRunner().invoke(app, [arguments[0], "--help"]).output.startswith(f"usage: python {arguments[0]}.py")


def test_unknown_choices_are_reported_before_reading_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").write_bytes(b"PK\x03\x04")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "best.ckpt"), "data=foldr"])
    assert (result.exit_code, result.stderr) == (2, "error: data=foldr: there is no such data; did you mean folder?\n")


def test_published_networks_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackageFile, "is_here", False)
    text = output("models", "--pretrained")
    expected = ["aiSFX", "4,690,000", "845,646,048", "44,100 Hz or any other", "CC BY 4.0", "no"]
    assert row(text, "aisfx")[1:] == expected
    assert row(text, "speech_embedding")[3:5] == ["-", "16,000 Hz"]
    assert "aisfx: pip install --no-deps aisfx==0.1.2" in text
    assert "AUDIO_LIGHTNING_WEIGHTS: " in text
    assert "cnn10 25 MB" in text
    monkeypatch.setattr(PackageFile, "is_here", True)
    text = output("models", "--pretrained")
    assert row(text, "aisfx")[-1] == "yes"
    assert "pip install" not in text


def test_published_networks_are_described() -> None:
    text = output("models", "--pretrained", "cnn10", "beats")
    assert "citation: Kong, Q." in text
    assert "licence: " in text
    assert "layers (channels): " in text
    result = CliRunner().invoke(app, ["models", "--pretrained", "beat"])
    assert (result.exit_code, result.stderr) == (2, "error: beat: no such published network; did you mean beats?\n")


def test_costs_that_depend_on_the_training_clips_are_named() -> None:
    text = output(
        "models", *CLIPS, "model=knn,linear", "feature=waveform", "data.sample_rate=8000", "data.clip_seconds=1"
    )
    (knn,), (linear,) = ([row for row in rows(text) if row[0] == name] for name in ("knn", "linear"))
    assert "8,000 N" in " ".join(knn)
    assert "N" not in linear
    assert "N: number of training clips; knn compares a clip with each of them" in " ".join(text.split())
    text = output("models", *CLIPS, "model=knn", "ensemble.num_members=2", "feature=waveform", "data.sample_rate=8000")
    assert " N " in text
    assert "number of training clips" not in output("models", *CLIPS, "model=linear")
