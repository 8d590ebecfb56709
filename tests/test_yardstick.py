"""The yardstick summarizes seeds by their median and finds Pareto-optimal trainings."""

from pathlib import Path

import pytest


@pytest.fixture
def yardstick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import time_to_accuracy

    return time_to_accuracy


def test_points_are_medians_over_seeds_and_the_quick_and_the_accurate_are_optimal(yardstick, tmp_path: Path) -> None:
    def rows(program: str, share: float, seconds: float, *right: float, threads: int = 2) -> list:
        return [
            yardstick.Result(program, "speech", seed, share, 10, seconds + seed, one, None, "a CPU", threads, seconds)
            for seed, one in enumerate(right)
        ]

    results = [
        *rows("quick", 1.0, 10, 0.6, 0.8, 0.7),
        *rows("slow", 1.0, 100, 0.9, 0.8, 0.7),
        *rows("worse", 1.0, 50, 0.5, 0.6, 0.7),
    ]

    quick, slow, worse = points = yardstick.summarize(results)

    assert (quick.seconds, quick.accuracy, quick.lowest, quick.highest, quick.seeds) == (11, 0.7, 0.6, 0.8, 3)
    assert [one.pareto for one in (quick, slow, worse)] == [True, True, False]
    assert yardstick.seconds_to(points, 0.65) == 11
    assert yardstick.seconds_to(points, 0.75) == 101
    assert yardstick.seconds_to(points, 0.95) is None
    on_one_thread = yardstick.summarize(rows("quick", 1.0, 10, 0.6, 0.8, 0.7, threads=1))
    assert on_one_thread[0].seconds == 10, "processor seconds"
    yardstick.draw(points, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
