"""Timing of the candidates' steps."""

import time
from pathlib import Path

import pytest

from audio_lightning.core.errors import ConfigError
from audio_lightning.fit import timing
from audio_lightning.fit.survey import Machine, Survey, Surveyed
from audio_lightning.fit.timing import Untimed, alone_with_all_threads, steps_beside_others, timed
from audio_lightning.sweeps.executors.forkserver import call_side_by_side

CANDIDATES = {name: Untimed({}, {}) for name in ("both", "quick")}


def survey(device: str = "CPU") -> Survey:
    candidates = {name: Surveyed(name, 0.0, 10) for name in CANDIDATES}
    candidates["broken"] = Surveyed("broken", 0.0, 1, "no weights")
    return Survey([], [], Machine(device, 2, 8.0), candidates, [[]], "made", ["a", "b"], False, 10, 10, None, [])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Requested numbers of processes; steps take 0.4 and 0.6 s in parallel, and 0.25 s alone."""
    asked: list[int] = []

    def beside(function: object, arguments: object, times: int) -> list[dict[str, float]]:
        assert function is steps_beside_others
        asked.append(times)
        return [{"both": 0.4, "quick": 0.1}, {"both": 0.6, "quick": 0.1}][:times]

    def alone(function: object, candidates: object) -> tuple[float, dict[str, float]]:
        assert function is alone_with_all_threads
        return 0.25, {"both": 0.002, "quick": 0.001}

    monkeypatch.setattr(timing, "cores", lambda: 2)
    monkeypatch.setattr(timing, "call_side_by_side", beside)
    monkeypatch.setattr(timing, "call", alone)
    return asked


def test_candidates_are_timed_in_parallel(measured: list[int]) -> None:
    found = timed(survey(), CANDIDATES, workers=8)
    assert measured == [2]  # as many as there are cores
    assert (found.candidates["both"].step_seconds, found.candidates["quick"].step_seconds) == (0.5, 0.1)
    assert found.candidates["both"].predict_seconds == 0.002
    assert found.candidates["broken"] == survey().candidates["broken"]
    assert found.alone == 2


@pytest.mark.parametrize(("device", "workers"), [("H200", 2), ("CPU", 1)])
def test_no_speed_up_with_one_device_per_training(device: str, workers: int, measured: list[int]) -> None:
    assert timed(survey(device), CANDIDATES, workers).alone == 1
    assert measured == [1]


def test_frozen_candidates_are_not_timed(measured: list[int]) -> None:
    found = timed(survey(), {"both": Untimed({}, {}, frozen=True), "quick": Untimed({}, {})}, workers=2)
    assert found.candidates["both"].step_seconds == 0
    assert found.candidates["both"].predict_seconds == 0.002
    assert found.candidates["quick"].step_seconds == 0.1
    assert found.alone == 1  # 0.25 s alone are no gain
    found = timed(survey(), {"both": Untimed({}, {}, frozen=True)}, workers=2)
    assert (measured, found.alone) == ([2], 1)


def meet(folder: Path, number: int) -> int:
    """Wait for the other processes; a single process would wait forever."""
    (folder / str(time.monotonic_ns())).touch()
    for _ in range(600):
        if len(list(folder.iterdir())) == number:
            return number
        time.sleep(0.1)
    raise ConfigError("the others did not come")


def test_processes_run_side_by_side(tmp_path: Path) -> None:
    assert call_side_by_side(meet, (tmp_path, 2), 2) == [2, 2]


def fail(folder: Path) -> None:
    raise ConfigError("no such thing")


def test_an_error_in_one_of_them_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such thing"):
        call_side_by_side(fail, (tmp_path,), 2)
