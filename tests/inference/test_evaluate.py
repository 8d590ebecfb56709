"""Evaluation of a checkpoint on the same or on other recordings."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny
import tiny_sources
import tiny_speech
import torch
from running import run
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.inference.evaluate import evaluate

TEST = ("test/accuracy", "test/balanced_accuracy", "test/f1_macro", "test/loss")


def test_equal_to_the_runs_own(trained: Path, tmp_path: Path) -> None:
    expected = json.loads((trained / "metrics.json").read_text())
    found = evaluate(trained, output=tmp_path / "again")
    for name in TEST:
        assert found.metrics[name] == pytest.approx(expected[name], abs=1e-6)
    assert json.loads((tmp_path / "again/metrics.json").read_text()) == found.metrics
    assert len(pd.read_csv(tmp_path / "again/predictions.csv")) == expected["num_clips/test"]


def test_the_data_may_have_moved(trained: Path, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_urbansound8k, tmp_path / "moved")
    expected = json.loads((trained / "metrics.json").read_text())
    found = evaluate(trained / "checkpoints/best.ckpt", [f"data.root='{tmp_path}/moved'"])
    assert found.metrics["test/accuracy"] == expected["test/accuracy"]


def test_on_other_recordings_all_of_them(trained: Path, tmp_path: Path) -> None:
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1, clips=5, seed=9)
    result = CliRunner().invoke(
        app, ["evaluate", str(trained), "data=urbansound8k", f"data.root={other}", "data.split=all", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_clips/test"] == 15


def test_classes_are_matched_by_name(trained: Path, tmp_path: Path) -> None:
    """Other class numbers, order and spelling, an additional class and a missing one; predictions are unchanged."""
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1, clips=5, seed=9)
    overrides = ["data=urbansound8k", f"data.root='{other}'", "data.split=all"]
    expected = evaluate(trained, overrides, output=tmp_path / "before")
    table = other / "metadata/UrbanSound8K.csv"
    text = table.read_text().replace("0,high_tone", "5,High-Tone").replace("1,low_tone", "0,low tone")
    table.write_text(text)
    renamed = evaluate(trained, overrides, output=tmp_path / "after")
    assert renamed.metrics == expected.metrics
    assert renamed.unknown_classes == []

    table.write_text(text.replace("2,noise", "2,thunder"))
    found = evaluate(trained, overrides)
    assert found.unknown_classes == ["thunder"]
    assert found.metrics["num_clips/test"] == 10


def test_no_class_in_common(trained: Path, tmp_path: Path) -> None:
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1)
    table = other / "metadata/UrbanSound8K.csv"
    text = table.read_text()
    for name in tiny.CLASSES:
        text = text.replace(name, f"x{name}")
    table.write_text(text)
    with pytest.raises(DataError, match="expected at least one class in common"):
        evaluate(trained, ["data=urbansound8k", f"data.root='{other}'", "data.split=all"])


def test_typos_are_reported(trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean data\.root\?"):
        evaluate(trained, ["data.rot=x"])


@pytest.mark.parametrize(
    ("overrides", "clips", "trained_on", "leakage"),
    [
        ([], 9, 0, "none found"),
        (["data.test_fold=1"], 9, 0, "cannot be excluded"),  # which chose the epoch
        (["data.test_fold=2"], 9, 9, "present"),
        (["data.split=all"], 36, 18, "present"),
        (["data=urbansound8k", "data.root=SAME"], 36, 18, "present"),
        (["data=urbansound8k", "data.root=SAME", "data.test_fold=4"], 9, 0, "cannot be excluded"),
    ],
)
def test_training_overlap_is_counted_and_reported(
    trained: Path,
    tiny_urbansound8k: Path,
    tmp_path: Path,
    overrides: list[str],
    clips: int,
    trained_on: int,
    leakage: str,
) -> None:
    line = [part.replace("SAME", str(tiny_urbansound8k)) for part in overrides]
    result = CliRunner().invoke(app, ["evaluate", str(trained), *line, "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["num_clips/test"], metrics["num_train_overlap"], metrics["leakage"]) == (clips, trained_on, leakage)
    assert metrics["split"] == ("folds" if clips == 9 else "all")
    warning = f"{trained_on} of {clips} clips were in the training data: the metrics do not hold for new recordings"
    assert (warning in result.stderr.splitlines()) == bool(trained_on)
    lines = result.stdout.splitlines()
    assert (f"leakage between the splits: {leakage}" in lines) == (leakage != "none found")
    names = ("accuracy", "balanced accuracy", "f1 macro")
    values = [metrics[f"test/{name.replace(' ', '_')}"] for name in names]
    figures = [f"{name} {value:.4f}" for name, value in zip(names, values)]
    assert lines[0].startswith("test: ")
    assert f"({clips} clips)" in lines[0]
    assert all(figure in lines[0] for figure in figures)
    assert lines[1].startswith("95 % interval over clips")
    written = ", ".join(f"{tmp_path}/{name}" for name in ("metrics.json", "predictions.csv", "per_class.csv"))
    assert lines[-1] == f"written: {written}"
    assert all(Path(name).is_file() for name in written.split(", "))


def as_folder(urbansound8k: Path, root: Path) -> Path:
    """The same recordings in folders of classes, all files renamed."""
    for number, file in enumerate(sorted((urbansound8k / "audio").rglob("*.wav"))):
        target = root / tiny.CLASSES[int(file.name.split("-")[1])] / f"{number}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return root


def test_overlap_is_found_for_moved_files_and_other_sample_types(
    trained: Path, tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = as_folder(tiny_urbansound8k, tmp_path / "renamed")
    found = evaluate(trained, ["data=folder", f"data.root='{root}'", "data.cache_dtype=int16"])
    assert (found.metrics["num_train_overlap"], found.metrics["num_clips/test"]) == (18, 36)
    assert "all clips are tested (data.split=all), as this data has no test split" in capsys.readouterr().err


def test_overlap_is_unknown_for_older_checkpoints(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    older = checkpoint["audio_lightning"]  # as version 0.1.0 wrote it, with hashes of another kind
    older["trained_on"] = older.pop("trained_segments")
    torch.save(checkpoint, tmp_path / "old.ckpt")
    found = evaluate(tmp_path / "old.ckpt", ["data.split=all"])
    assert "num_train_overlap" not in found.metrics
    assert found.metrics["leakage"] == "cannot be excluded"
    assert "overlap with the training data is unknown" in capsys.readouterr().err
    assert evaluate(tmp_path / "old.ckpt").metrics["leakage"] == "none found"


def test_seed_of_the_run_is_the_default(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path / "data")
    here = ["data=folder", f"data.root='{root}'", "data.split=stratified"]
    expected = run(root, tmp_path / "run", "data=folder", "seed=3", "trainer.max_epochs=1")
    found = evaluate(tmp_path / "run", here).metrics
    assert found["num_train_overlap"] == 0
    assert {name: found[name] for name in (*TEST, "seed")} == {name: expected[name] for name in (*TEST, "seed")}
    for overrides in ([*here, "seed=0"], [*here, "data.seed=0"], ["seed=0"]):
        found = evaluate(tmp_path / "run", overrides).metrics
        assert found["seed"] == 0
        assert found["num_train_overlap"] > 0


@pytest.mark.parametrize(
    ("overrides", "clips", "split"),
    [
        (["data=folder"], 9, "official"),
        (["data=folder", "data.test_fraction=0.3"], 9, "official"),
        (["data=folder", "data.split=all"], 18, "all"),
    ],
)
def test_only_the_test_split_of_other_data_is_tested(
    trained: Path, tmp_path: Path, overrides: list[str], clips: int, split: str
) -> None:
    root = tiny.write_folder(tmp_path, clips=3, splits=("train", "test"))
    found = evaluate(trained, [*overrides, f"data.root='{root}'"]).metrics
    assert (found["num_clips/test"], found["split"]) == (clips, split)


@pytest.mark.parametrize("own", [False, True], ids=["by lists or hash", "a folder"])
def test_the_official_test_part_of_speech_commands(tmp_path: Path, own: bool) -> None:
    root = tiny_sources.write("speech_commands", tmp_path / "data")
    settings = ["data=speech_commands", "data.task=12", "data.clip_seconds=0.1", "feature.hop_seconds=0.005"]
    overrides = ["data=speech_commands", "data.task=12", f"data.root='{root}'"]
    if own:
        names = ("_silence_", "_unknown_", *tiny_speech.COMMANDS)
        for name in names:
            tiny_speech.write_clip(tmp_path / "test" / name / "0123abcd_nohash_0.wav", sound=True)
        overrides.append(f"data.test_root='{tmp_path / 'test'}'")
    expected = run(root, tmp_path / "run", *settings, "trainer.max_epochs=1")
    found = evaluate(tmp_path / "run", overrides).metrics
    assert found["num_clips/test"] == (12 if own else expected["num_clips/test"])
    assert (found["split"], found["num_train_overlap"]) == ("official", 0)


def test_unsplit_data_does_not_need_the_keys_of_a_split(tmp_path: Path) -> None:
    """One note of every instrument cannot be divided by notes, and can be tested on."""
    root = tiny_sources.write("instruments", tmp_path / "data")
    other = tiny.write_instruments(tmp_path / "other", notes=1, seed=5)
    windows = ["data=instruments", "data.clip_seconds=0.25", "data.hop_seconds=0.125"]
    expected = run(root, tmp_path / "run", *windows, "trainer.max_epochs=1")
    found = evaluate(tmp_path / "run", ["data=instruments", f"data.root='{other}'"]).metrics
    assert (found["split"], found["num_train_overlap"]) == ("all", 0)

    again = evaluate(tmp_path / "run", ["data=folder", f"data.root='{root}'"], output=tmp_path / "again").metrics
    recordings = pd.read_csv(tmp_path / "again/recordings.csv")
    assert "test/recording_accuracy" in again, "the windows are those of the training"
    assert again["num_clips/test"] == sum(expected[f"num_clips/{split}"] for split in ("train", "validation", "test"))
    assert 0 < again["num_train_overlap"] < len(recordings) == 36
    whole = evaluate(tmp_path / "run", ["data=folder", f"data.root='{root}'", "data.hop_seconds=null"]).metrics
    assert whole["num_clips/test"] == 36
    assert "test/recording_accuracy" not in whole
