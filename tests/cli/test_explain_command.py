"""``audio-lightning explain``: explanation, nearest training clips, and error messages."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from untrained import CNN, write_member

from audio_lightning.cli.main import app


def invoke(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def recording(tiny_urbansound8k: Path) -> Path:
    return tiny_urbansound8k / "audio/fold1/1000-0-0-0.wav"


def test_a_recording(trained: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("explain", trained, recording, "--neighbours", "3")
    assert code == 0, err
    assert "without the marked tenth" in out
    assert "(gradcam)" in out.replace("\n", " ")
    written = out.splitlines()[-1].removeprefix("written: ").split(", ")
    assert [Path(name).name for name in written] == [
        "relevance.png",
        "marked.wav",
        "without.wav",
        "explanation.json",
        "relevance.npz",
    ]
    with np.load(tmp_path / "explanation_1000-0-0-0/relevance.npz") as arrays:
        bands, frames = arrays["relevance"].shape
        assert arrays["marked"].shape == (bands, frames)
        assert arrays["band_edges_hz"].shape == (bands + 1,)
        assert 0 < arrays["marked"].sum() <= round(0.1 * bands * frames)
        assert 0 < float(arrays["frame_seconds"]) < 0.1
    plain = json.loads((tmp_path / "explanation_1000-0-0-0/explanation.json").read_text())
    assert len(plain["nearest_training_clips"]) == 3
    assert all(clip["path"] in out for clip in plain["nearest_training_clips"])


def test_another_class_by_occlusion(trained: Path, recording: Path, tmp_path: Path) -> None:
    words = ("--class", "noise", "--method", "occlusion", "--neighbours", "0", "--output", tmp_path / "out")
    code, out, err = invoke("explain", trained, recording, *words)
    assert code == 0, err
    assert out.startswith("noise: probability ")
    assert json.loads((tmp_path / "out/explanation.json").read_text())["method"] == "occlusion"


def test_explanations_without_the_data_of_the_run(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    checkpoint = write_member(tmp_path / "one.ckpt", "data=urbansound8k", f"data.root={tmp_path}/gone", *CNN)
    (tmp_path / "gone").rmdir()
    code, out, err = invoke("explain", checkpoint, recording, "--output", tmp_path / "out")
    assert code == 0, err
    assert "no nearest training clips:" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a recording to explain"),
        (["RECORDING", "--class", "noize"], "did you mean noise?"),
        (["RECORDING", "--page"], "--page: explains the mistakes of a fit"),
        (["--page"], "expected a folder with fit.json"),
        (["nowhere.wav"], "nowhere.wav"),
    ],
)
def test_mistakes_are_reported_in_one_line(trained: Path, recording: Path, tmp_path: Path, words: list[str], said: str,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, err = invoke("explain", trained, *[str(recording) if word == "RECORDING" else word for word in words])
    assert (code, len(err.splitlines())) == (2, 1)
    assert said in err
