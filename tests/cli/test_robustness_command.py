"""``audio-lightning robustness``: one row per condition, files, and error messages."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.report.model_card import write_model_card


def invoke(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def test_a_row_for_each_condition_and_files(trained: Path, tmp_path: Path) -> None:
    code, out, err = invoke("robustness", trained, "--only", "level,telephone", "--output", tmp_path / "out")
    assert code == 0, err
    lines = out.splitlines()
    assert any(line.startswith("9 test clips in ") for line in lines)
    assert sum(line.startswith("level ") for line in lines) == 6
    (clean,) = [line for line in lines if line.startswith("none ")]
    assert clean.count("[") == 1
    (telephone,) = [line for line in lines if line.startswith("telephone ")]
    assert telephone.count("[") == 2
    written = lines[-1].removeprefix("written: ").split(", ")
    assert len(written) == 3
    assert all(Path(name).is_file() for name in written)


def test_two_classifiers(trained: Path) -> None:
    words = ("--only", "level", "--against", trained / "checkpoints/last.ckpt")
    code, out, err = invoke("robustness", trained / "checkpoints/best.ckpt", *words)
    assert code == 0, err
    assert out.count("to the first") == 1
    lines = sum(line.startswith("level ") for line in out.splitlines())
    assert lines >= 12  # a table that is too wide goes on below, with its first columns repeated
    assert lines % 6 == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "noize"], "did you mean noise?"),
        (["data.rot=x"], "did you mean data.root?"),
        (["--against", "nowhere"], "nowhere: no such checkpoint"),
        (["--device", "tpu9"], "--device tpu9: not available"),
    ],
)
def test_mistakes_are_reported_in_one_line(trained: Path, words: list[str], said: str) -> None:
    code, _, err = invoke("robustness", trained, *words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert said in err


def test_model_card_gets_a_section_unless_edited(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    card = write_model_card(folder)
    assert "## Robustness" not in card.read_text(encoding="utf-8")
    words = ("robustness", folder, "--only", "clipping", "--output", folder)
    assert invoke(*words)[0] == 0
    assert "## Robustness" in card.read_text(encoding="utf-8")
    card.write_text("mine", encoding="utf-8")
    assert invoke(*words)[0] == 0
    assert card.read_text(encoding="utf-8") == "mine"
