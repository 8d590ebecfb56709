"""Outputs of commands: no input, recording or result of a run is overwritten, and options are checked first."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner
from untrained import CNN, write_member

import audio_lightning as al
from audio_lightning.cli.main import app
from audio_lightning.cli.targets import named_files, protect, require_writable
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import check_free


def invoke(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with a run whose checkpoint is never loaded, recordings and tables."""
    for name, content in {
        "run/config.yaml": "",
        "run/checkpoints/best.ckpt": "PK\3\4",
        "run/metrics.json": "{}",
        "run/predictions.csv": "path\n",
        "sweep/sweep.json": "{}",
        "fit/state.json": "{}",
        "fit/clock.json": "{}",
        "fit/out_of_fold.csv": "",
        "labelled.csv": "path,label\nv.wav,dog\n",
        "test.csv": "path\nv.wav\n",
        "sample.csv": "path,label\nv.wav,?\n",
        "ref/v.csv": "start,end,label\n0,1,dog\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for name in ("v.wav", "sounds/good.wav", "made/without.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(8000, np.float32), 8000)
    (tmp_path / "link.csv").symlink_to("v.wav")
    os.link(tmp_path / "v.wav", tmp_path / "same.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict run v.wav --output v.wav", "--output v.wav: would overwrite the input v.wav; give another file"),
        ("predict run v.wav --output ./sounds/../v.wav", "would overwrite the input v.wav"),
        ("predict run v.wav --output link.csv", "--output link.csv: would overwrite the input v.wav"),
        ("predict run v.wav --output same.csv", "--output same.csv: would overwrite the input v.wav"),
        ("predict run sounds --output sounds/good.wav", "--output sounds/good.wav: would overwrite a recording"),
        ("predict run v.wav --output sounds/good.wav", "would overwrite a recording"),
        ("predict run test.csv --output test.csv", "would overwrite the input test.csv"),
        ("predict run test.csv --submission sample.csv --output sample.csv", "would overwrite the input sample.csv"),
        ("predict run v.wav --output run/predictions.csv", "would overwrite a file of the run"),
        ("predict run v.wav --output fit/out_of_fold.csv", "would overwrite a file of the fit"),
        ("predict run/checkpoints/best.ckpt v.wav --output run/checkpoints/best.ckpt", "would overwrite the input"),
        ("predict run v.wav --output run/checkpoints/best.ckpt", "would overwrite a file of the run"),
        ("embed run v.wav --output v.wav", "would overwrite the input v.wav"),
        ("detect run v.wav --output v.wav", "would overwrite the input v.wav"),
        ("detect run v.wav --reference ref/v.csv --output ref/v.csv", "would overwrite the input ref/v.csv"),
        ("detect run v.wav --reference ref --output ref/v.csv", "would overwrite the input ref/v.csv"),
        ("suggest run v.wav --output v.wav", "would overwrite the input v.wav"),
        ("suggest run sounds --like v.wav --output v.wav", "would overwrite the input v.wav"),
        ("suggest run sounds --labelled labelled.csv --output labelled.csv", "would overwrite the input labelled.csv"),
        ("explain run made/without.wav --output made", "--output made/without.wav: would overwrite the input"),
        ("evaluate run --output run", "--output run: is the folder of a run, whose results must not change"),
        ("evaluate run --output sweep", "--output sweep: is the folder of a sweep"),
        ("evaluate run --output fit", "--output fit: is the folder of a fit"),
        ("robustness run --output sweep", "--output sweep: is the folder of another sweep"),
        (
            "check data=table data.root=. data.table=test.csv --csv test.csv",
            "--csv test.csv: would overwrite the input",
        ),
        ("labels run --csv run/predictions.csv", "--csv run/predictions.csv: would overwrite a file of the run"),
    ],
)
def test_nothing_valuable_is_overwritten(place: Path, line: str, message: str) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code, _, err = invoke(*line.split())
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert "; give another f" in err
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_other_files_may_be_replaced(place: Path) -> None:
    """Earlier outputs, also in the folder of a run, and files that do not exist."""
    (place / "run/mine.csv").touch()
    protect("--output", [place / name for name in ("run/mine.csv", "new.wav", "labelled.csv")], [place / "v.wav"])
    protect("--output", [place / "made/without.wav"], [place / "v.wav"], recordings=False)
    require_writable("--output", Path(os.devnull), [Path(os.devnull)])


def test_robustness_may_write_into_the_folder_of_its_run_alone(place: Path) -> None:
    check_free("--output", place / "run", own=place / "run/checkpoints/best.ckpt")
    check_free("--output", place / "sounds", own=place / "run/checkpoints/best.ckpt")
    with pytest.raises(ConfigError, match="is the folder of another fit"):
        check_free("--output", place / "fit", own=place / "run/checkpoints/best.ckpt")


def test_functions_refuse_these_folders_too(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"output=.*run: is the folder of a run"):
        al.evaluate(place / "run", output=place / "run")
    with pytest.raises(ConfigError, match=r"output=.*sweep: is the folder of another sweep"):
        al.robustness(place / "run", output=place / "sweep")
    with pytest.raises(ConfigError, match=r"output=.*sweep: is the folder of another sweep"):
        al.robustness("hf://owner/name", output=place / "sweep")


def test_files_that_overrides_name() -> None:
    line = ["data=table", "data.root='a b'", "data.table={train: x.csv, test: y.csv}"]
    assert {Path("x.csv"), Path("a b/x.csv"), Path("y.csv"), Path("a b/y.csv")} <= set(named_files(line))


@pytest.mark.parametrize("options", [["--window", 99], ["--hop", 0], ["--top-k", 2]])
def test_options_are_checked_before_a_submission_is_opened(tmp_path: Path, options: list[object]) -> None:
    checkpoint = write_member(tmp_path / "best.ckpt", *CNN)
    soundfile.write(tmp_path / "v.wav", np.zeros(8000, np.float32), 8000)
    (tmp_path / "test.csv").write_text("path,noise,high tone,low tone\nv.wav,0,0,0\n")
    (tmp_path / "submission.csv").write_text("an older one")
    code, _, err = invoke(
        "predict", checkpoint, tmp_path / "test.csv", *options, "--output", tmp_path / "submission.csv"
    )
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"error: {options[0]}")
    assert (tmp_path / "submission.csv").read_text() == "an older one"
