"""``audio-lightning labels``."""

from pathlib import Path

import pandas as pd
import pytest
from generated_predictions import generated, write_run, write_sweep
from sweep_folders import make_sweep
from typer.testing import CliRunner

from audio_lightning.cli.main import app


def call(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["labels", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def test_clips_are_printed_worst_first_and_all_are_written(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", generated([1.5, 1.5], 200))
    code, output, errors = call(sweep.path, "--csv", tmp_path / "labels.csv", "--most", "3")
    assert (code, errors) == (0, "")
    table = pd.read_csv(tmp_path / "labels.csv")
    assert len(table) > 3
    assert table["label_quality"].is_monotonic_increasing
    assert f"{table['confident'].sum()} of 200 clips probably have a wrong label" in output
    assert f"the prediction of {len(table)} differs from the label" in " ".join(output.split())
    assert f"and {len(table) - 3} more" in output
    assert max(map(len, output.splitlines()[:-1])) <= 100
    shown = [line for line in output.splitlines() if ".wav" in line]
    assert [line.split()[0] for line in shown] == list(table["path"][:3])
    assert shown[0].split()[1:4] == ["0.0", "to", "1.0"]


@pytest.mark.parametrize("multilabel", [False, True])
def test_without_a_contradiction_there_is_no_table(multilabel: bool, tmp_path: Path) -> None:
    predictions = generated([40.0], 40, multilabel=multilabel)
    predictions.probabilities[:] = predictions.targets
    code, output, _ = call(write_sweep(tmp_path, predictions).path)
    assert code == 0
    assert output.startswith("0 of 40 clips")
    assert "recording" not in output


def test_unprintable_names_are_escaped(tmp_path: Path) -> None:
    predictions = generated([1.0], 40)
    predictions.clips["path"] = [f"[b]\x1b{place}.wav" for place in range(40)]
    _, output, _ = call(write_sweep(tmp_path, predictions).path)
    assert "[b]\\x1b" in output


@pytest.mark.parametrize("name", ["missing", "empty", "unfinished", "two"])
def test_folders_without_predictions_are_reported_in_one_line(name: str, tmp_path: Path) -> None:
    folders = [tmp_path / name]
    if name == "empty":
        folders[0].mkdir()
    elif name == "unfinished":
        make_sweep(folders[0], [])
    elif name == "two":
        sweep = write_sweep(folders[0], generated([1.0], 20))
        folders.append(write_run(tmp_path / "run", generated([1.0], 20)).path)
        assert sweep.path == folders[0]
    code, output, errors = call(*folders)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1


def test_unwritable_files_are_rejected_first(tmp_path: Path) -> None:
    code, _, errors = call(tmp_path / "nothing", "--csv", tmp_path)
    assert code == 2
    assert "is a folder; give the name of a file" in errors
