"""``audio-lightning check``."""

import csv
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import typer
from click.testing import Result
from typer.testing import CliRunner

from audio_lightning.cli.check import check_command

PROJECT = Path(__file__).parents[2]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(check_command)


def typed(root: Path | str, *arguments: str) -> Result:
    settings = ["data=urbansound8k", f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25"]
    return CliRunner().invoke(app, [*settings, *arguments])


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with five silent recordings, and one that is not listed and has an odd name. Read only."""
    root = tiny.write_urbansound8k(tmp_path_factory.mktemp("damaged") / "my (ö) data")
    for path in sorted(root.glob("audio/fold1/*.wav"))[:5]:
        soundfile.write(path, np.zeros(2000), tiny.RATE)
    soundfile.write(root / "audio/fold1/[red]x[bold].wav", np.zeros(2000), tiny.RATE)
    return root


def test_clean_data_set(tiny_urbansound8k: Path) -> None:
    result = typed(tiny_urbansound8k)
    assert result.exit_code == 0, result.output
    said, following = result.stdout.splitlines()[-2:]
    assert said == "no problems in 36 recordings"
    assert shlex.split(following)[:3] == ["next:", "python", "train.py"]
    assert f"data.root={tiny_urbansound8k}" in shlex.split(following)
    assert result.stderr == ""


def test_findings_are_shown_by_kind(damaged: Path) -> None:
    result = typed(damaged)
    assert result.exit_code == 1
    assert "[red]x[bold].wav: is not listed" in result.stdout
    shown = " ".join(result.stdout.split())
    assert shown.index("warning silent 5") < shown.index("hint unlisted 1"), "the gravest first"
    assert shown.count("is silent") == 1, "equal ones are one"
    assert "and 2 more: is silent" in shown
    *_, count, more, following = result.stdout.splitlines()
    assert (count, more) == ("6 problems in 36 recordings", "--csv FILE writes all of them")
    assert shlex.split(following)[:3] == ["next:", "audio-lightning", "check"]
    assert f"data.root={damaged}" in shlex.split(following), "quoted for the shell"


def test_suggested_command_skips_bad_recordings(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path / "data", clips=10)
    next(root.rglob("*.wav")).write_bytes(b"RIFF")
    settings = ["data=folder", f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25"]
    result = CliRunner().invoke(app, [*settings, "--report", str(tmp_path / "page.html")])
    assert result.exit_code == 1
    assert shlex.split(result.stdout.splitlines()[-1])[-1] == "data.bad_recordings=skip", result.output
    remedy = "data.bad_recordings=skip trains without the recordings that cannot be read"
    assert CliRunner().invoke(app, settings).stdout.splitlines()[-2] == remedy, "also without a report"
    assert remedy not in CliRunner().invoke(app, [*settings, "data.bad_recordings=skip"]).stdout


@pytest.mark.parametrize(
    ("allowed", "code"), [(["silent"], 1), (["unlisted"], 1), (["silent", "unlisted"], 0), (["clipped"], 1)]
)
def test_allowed_findings_are_shown_without_failure(damaged: Path, allowed: list[str], code: int) -> None:
    result = typed(damaged, *[word for kind in allowed for word in ("--allow", kind)])
    assert result.exit_code == code
    assert "6 problems in 36 recordings" in result.stdout
    assert ("silent (allowed)" in result.stdout) == ("silent" in allowed)
    count = {"silent": 5, "unlisted": 1, "clipped": 0}
    if sum(count[kind] for kind in allowed):
        assert f", {sum(count[kind] for kind in allowed)} of them of allowed kinds" in result.stdout


def test_notes_are_printed_without_failure(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path / "data", clips=10)
    (root / "notes.txt").touch()
    settings = ["data=folder", f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25"]
    result = CliRunner().invoke(app, [*settings, "--report", str(tmp_path / "page.html")])
    assert "note: ignored: 1 other file (.txt 1)" in result.stdout
    assert "ignored: 1 other file (.txt 1)" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.exit_code == 0, result.output


def test_files_contain_all_findings(damaged: Path, tmp_path: Path) -> None:
    result = typed(damaged, "--csv", str(tmp_path / "new/all.csv"), "--report", str(tmp_path / "page.html"))
    assert result.exit_code == 1
    with (tmp_path / "new/all.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["severity", "kind", "where", "what"]
    assert [row[:2] for row in rows] == [*[["warning", "silent"]] * 5, ["hint", "unlisted"]]
    assert rows[-1][2] == "audio/fold1/[red]x[bold].wav"
    assert "my (ö) data" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"page: {tmp_path}/page.html" in result.stdout
    assert "--csv FILE" not in result.stdout


def test_a_clean_data_set_overwrites_an_old_file(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("old")
    assert typed(tiny_urbansound8k, "--csv", str(tmp_path / "all.csv")).exit_code == 0
    assert (tmp_path / "all.csv").read_text() == "severity,kind,where,what\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=resnet"], "model=resnet: only the data is checked"),
        (["+trainer.x=1"], "+trainer.x=1: only the data is checked"),
        (["data.sample_rat=8000"], "did you mean data.sample_rate?"),
        (["+data.sample_rat=8000"], "did you mean data.sample_rate?"),
        (["data=urbansond8k"], "did you mean urbansound8k?"),
        (["data.root=/nowhere"], "data.root=/nowhere: no such folder"),
        (["data.root=."], "UrbanSound8K.csv"),
        (["--allow", "silnt"], "--allow silnt: no such kind of finding; did you mean silent?"),
        (["--csv", "."], "--csv .: is a folder"),
        (["--report", __file__ + "/page.html"], "is not writable; choose another folder"),
    ],
)
def test_mistakes_are_one_line_with_exit_code_2(tiny_urbansound8k: Path, arguments: list[str], message: str) -> None:
    result = typed(tiny_urbansound8k, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_requested_folds_are_checked(tiny_urbansound8k: Path) -> None:
    result = typed(tiny_urbansound8k, "data.test_fold=9", "seed=1")
    assert result.exit_code == 1
    assert "data.test_fold=9: the data has the folds 1, 2, 3, 4" in " ".join(result.stdout.split())


def test_mistakes_need_no_heavy_imports() -> None:
    code = """
import sys, typer
from audio_lightning.cli.check import check_command
try:
    typer.run(check_command)
except SystemExit as end:
    heavy = ("torch", "lightning", "matplotlib", "jinja2")
    print(end.code, [name for name in heavy if name in sys.modules])
"""
    command = [sys.executable, "-c", code, "--allow", "silnt"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    assert result.stdout.splitlines()[-1] == "2 []"
