"""Tables fit terminals of any width without cut words."""

import os
from pathlib import Path

import pytest
from sweep_folders import make_sweep, trial
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.cli.output import command, print_demo_data, print_next, print_written
from audio_lightning.core.text_tables import Column, print_table

WIDTHS = (60, 80, 120, 200)

COLUMNS = (
    Column("", "right", whole=True),
    Column("setup"),
    Column("validation\naccuracy", whole=True),
    Column("why"),
    Column("from", whole=True),
)
ROWS = [
    ("1", "logmel cnn", "0.800 ± 0.016\n[0.784, 0.816]", "not distinguishable, p = 0.31 over 8 folds", "/a/path"),
    ("2", "[red] conv1d_vgg_skip", "0.7", "", "/a/longer/path with spaces/in/it"),
]


def too_wide(text: str, width: int) -> list[str]:
    """Lines that are wider than the terminal and of several words."""
    return [line for line in text.splitlines() if len(line.rstrip()) > width and " " in line.strip()]


@pytest.mark.parametrize("width", [*WIDTHS, 20, 30, 45])
def test_words_are_never_cut(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS, keys=2)
    text = capsys.readouterr().out
    shown = {word.rstrip(",") for word in text.split()}
    assert {word.rstrip(",") for row in ROWS for cell in row for word in cell.split()} <= shown
    assert not [line for line in too_wide(text, width) if line.strip() != ROWS[1][-1]], "but for a whole path"


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_figures_and_paths_stay_in_one_line(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS, keys=2)
    text = capsys.readouterr().out
    for whole in ("0.800 ± 0.016", "[0.784, 0.816]", "/a/longer/path with spaces/in/it"):
        assert whole in text


def test_in_a_pipe_a_table_has_the_width_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(COLUMNS, ROWS, keys=2)
    assert len(capsys.readouterr().out.splitlines()) == 2 + 2 + 1
    print_table(COLUMNS, ROWS, keys=2, piped_width=50)
    assert not too_wide(capsys.readouterr().out, 50)


def test_a_narrow_terminal_gets_several_tables_with_the_same_first_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table([Column("model", whole=True), *(Column(f"feature{n}") for n in range(8))], [("cnn", *["ok"] * 8)])
    tables = capsys.readouterr().out.split("\n\n")
    assert len(tables) == 3
    assert all(table.split()[0] == "model" and "cnn" in table for table in tables)


CLIPS = ["data.sample_rate=8000", "data.clip_seconds=0.25"]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_command_fits(width: int, tmp_path: Path) -> None:
    verdicts = [
        trial(0.8 - number / 50, feature="logmel_librosa", model=model, fold=fold, metrics={"macs": 123_456_789})
        for number, model in enumerate(("conv1d_vgg_skip", "efficientnet", "cnn"))
        for fold in (1, 2, 3)
    ]
    sweep = make_sweep(tmp_path / "sweep", verdicts)
    for arguments in (
        ["models", "model=cnn,dnn,conv1d_vgg_skip", *CLIPS],
        ["features", *CLIPS],
        ["compatibility", "model=cnn,conv1d_vgg_skip", *CLIPS],
        ["leaderboard", str(sweep.path)],
    ):
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(width)})
        assert result.exit_code == 0, result.output
        lines = [line for line in result.output.splitlines() if not line.startswith("next: ")]
        assert not too_wide("\n".join(lines), width), arguments
        assert result.output.splitlines()[-1].startswith("next: ")
        if arguments[0] != "features":
            assert "conv1d_vgg_skip" in result.output


def test_suggested_commands_are_quoted_and_relative(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    print_next("audio-lightning", "predict", tmp_path / "my run", "FILE.wav")
    assert capsys.readouterr().out == "next: audio-lightning predict 'my run' FILE.wav\n"
    assert command("python", "sweep.py", "model=cnn,lstm", Path("/else where")) == (
        "python sweep.py model=cnn,lstm '/else where'"
    )


@pytest.mark.parametrize(
    ("lines", "is_printed"),
    [([], True), (["seed=1"], True), (["data=demo"], False), (["experiment=best_urbansound"], False)],
)
def test_demo_data_that_nothing_chose_is_named(
    lines: list[str], is_printed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_demo_data(lines)
    assert capsys.readouterr().out.startswith("no data= is given") == is_printed


def test_a_written_device_is_named_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--output /dev/stdout``, stdout holds the data alone."""
    print_written(tmp_path / "a.csv")
    print_written(Path(os.devnull))
    found = capsys.readouterr()
    assert (found.out, found.err) == (f"written: {tmp_path / 'a.csv'}\n", f"written: {os.devnull}\n")
