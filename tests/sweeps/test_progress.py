"""Progress of a sweep at any width of the terminal."""

import re
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweep_folders import make_sweep, trial

from audio_lightning.compare.trials import SweepFolder
from audio_lightning.sweeps.progress import Progress, describe

CHOICES = {"model": "matchboxnet", "feature": "logmel", "optimizer": "adamw", "lr": 0.001, "loss.label_smoothing": 0.1}
WHOLE = "matchboxnet logmel adamw optimizer.lr=0.001 loss.label_smoothing=0.1"
REASON = "RuntimeError: could not create a primitive descriptor for an LSTM forward propagation primitive"


def swept(tmp_path: Path) -> SweepFolder:
    return make_sweep(
        tmp_path, [trial(0.8123, **CHOICES), trial(None, **CHOICES, state="failed", reason=REASON, seed=1)]
    )


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")  # nothing is drawn in between


def progress(settled: int = 0, total: int = 1200) -> Progress:
    counts = Counter({"done": settled})
    return Progress(total=total, settled=counts, slots=2, monitor="validation/mean_average_precision")


def ended(display: Progress, sweep: SweepFolder) -> None:
    for folder, status in sweep.folders():
        display.ended(folder, status)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_lines_fit_the_terminal_without_a_cut_word(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch, width)
    path = "  File /a/folder/with/a/long/name/that/has/more/columns/than/a/narrow/terminal/trial.py"
    sweep = make_sweep(
        tmp_path / "sweep",
        [
            trial(None, **CHOICES, metrics={"validation/mean_average_precision": 0.8123}),
            trial(None, **CHOICES, state="failed", reason=REASON, seed=1),
        ],
    )
    sweep.folders()  # as they were written
    failed = next(folder for folder, status in sweep.folders() if status.state == "failed")
    failed.error.write_text(f"Traceback\n{path}\n", encoding="utf-8")
    display = progress()
    ended(display, sweep)
    display.close()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    lines = [line for line in text.splitlines() if len(line.split()) > 2]
    assert max(len(line) for line in lines) <= width, text
    words = text.split()
    for word in ("matchboxnet", "0.8123", "descriptor", *path.split()):
        assert word in words, f"{word} is cut"
    if width == 80:  # the choices in one line, in place of what all lines have
        (line,) = (line for line in lines if "0.8123" in line)
        assert line == "[   1/1200] matchboxnet logmel adamw lr=0.001 label_smoothing=0.1  0.8123"
    if width >= 120:
        assert WHOLE in text


def test_in_a_pipe_lines_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    display = Progress(total=2, settled=Counter(), slots=2, monitor="validation/accuracy")
    ended(display, swept(tmp_path))
    assert capsys.readouterr().out.splitlines() == [
        f"[1/2] done        {WHOLE}  validation/accuracy 0.8123  12.5 s",
        f"[2/2] failed      {WHOLE} seed=1  {REASON}  12.5 s",
    ]


@pytest.mark.parametrize("width", [30, 40, 60, 78, 118, 250])
def test_the_status_line_is_one_line(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display = Progress(total=120, settled=Counter(), slots=2, monitor="validation/accuracy")
    ended(display, swept(tmp_path))
    shown: list[str] = []
    display._display = SimpleNamespace(update=lambda text: shown.append(text.plain))
    on_terminal(monkeypatch, width)
    display.update(running=2)
    (line,) = shown
    assert len(line) <= width - 2
    assert line.startswith("2/120")
    if width == 250:
        best = f"best validation/accuracy 0.8123 ({WHOLE})"
        assert line == f"2/120 trials, 2 running, 1 failed, {best}, about 12 min left"
    if width >= 118:
        assert WHOLE in line
    if width == 78:
        assert line == "2/120 trials, 2 running, 1 failed, best 0.8123, about 12 min left"


def test_a_choice_in_brackets_is_text_and_no_style(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``[/red]`` would be a closing tag without an opening one."""
    on_terminal(monkeypatch, 120)
    sweep = make_sweep(tmp_path, [trial(0.8, **{"data.root": "[/red]"})])
    display = Progress(total=2, settled=Counter(), slots=2, monitor="validation/accuracy")
    ended(display, sweep)
    display.update(running=1)
    display.close()
    ((_, status),) = sweep.folders()
    assert describe(status) == "data.root=[/red]"
    assert describe(status) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settled", "taken", "said"),
    [
        ({"skipped": 3, "done": 4}, {}, "4 had finished before; 3 cannot work"),
        ({"skipped": 1}, {}, "1 cannot work"),
        ({"done": 4}, {"sweeps/a": 2}, "4 had finished before, 2 of them in sweeps/a"),
        (
            {"done": 1, "pruned": 5, "failed": 2},
            {},
            "1 had finished before; 5 had been pruned before; 2 without a result",
        ),
    ],
)
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "interrupted"])
def test_the_last_line_tells_finished_trials_from_those_that_cannot_work(
    settled: dict[str, int], taken: dict[str, int], said: str, complete: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Progress(total=9, settled=Counter(settled), slots=1, monitor="validation/accuracy")
    assert display.summary(running=0)[0].startswith(f"{sum(settled.values())}/9 trials")
    display.is_complete = complete
    display.close(taken)
    left = "nothing was left to do" if complete else f"{9 - sum(settled.values())} left to run"
    assert capsys.readouterr().out == f"{left}; {said} (0 s)\n"


def test_keys_with_the_same_last_part_keep_their_names(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, [trial(0.8, lr=0.1, **{"optimizer.weight_decay": 0.1, "ema.weight_decay": 0.2})])
    ((_, status),) = sweep.folders()
    assert describe(status, brief=True) == "lr=0.1 optimizer.weight_decay=0.1 ema.weight_decay=0.2"


def test_with_a_budget_lines_say_what_is_left_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path, [trial(0.7, seed=0), trial(0.9, seed=1)])
    before, now = sweep.folders()
    progress = Progress(
        total=3,
        settled=Counter(),
        slots=1,
        monitor="validation/accuracy",
        what="trainings",
        budget_left=lambda: 300.0,
        best=(0.95, before[1]),
    )
    progress.ended(*now)
    assert capsys.readouterr().out.rstrip().endswith("s, 5 min of the budget left")
    progress.update(running=2)
    assert capsys.readouterr().out == ""  # not before a minute of silence
    monkeypatch.setattr("audio_lightning.sweeps.progress.SECONDS_OF_SILENCE", 0.0)
    progress.update(running=2)
    said = capsys.readouterr().out
    assert said == "1/3 trainings, 2 running, best validation/accuracy 0.9500 (seed=0), 5 min of the budget left\n"
