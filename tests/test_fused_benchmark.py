"""The benchmark of fused trials, and the table that it writes into the documentation."""

import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fused

    return fused


def test_each_way_is_compared_with_the_first(
    fused: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(way, trials, settings, *, gpu):
        assert gpu
        assert {"model=cnn", "trainer.max_epochs=2", "trainer=gpu"} < set(settings)
        return fused.Measured(settings[1], way.fuse, way.at_once, trials, 1.0, 100.0 * way.fuse)

    monkeypatch.setattr(fused, "measure", measure)
    fused.on_gpu("cnn", 2, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["fuse"] for row in found] == 2 * [1, 1, 1, 4, 16, 64, 16]
    assert [row["trials"] for row in found] == 2 * [16, 16, 16, 16, 16, 64, 64], "no group is smaller than it is called"
    assert {row["settings"] for row in found} == {"channels_last=true", "channels_last=false"}
    assert "64.00" in capsys.readouterr().out


def test_the_table_stands_between_its_marks(fused: ModuleType) -> None:
    page = f"before\n{fused.BEGIN}\nold\n{fused.END}\nafter\n"
    changed = fused.with_table(page, ["| a |", "|---|"])
    assert changed == f"before\n{fused.BEGIN}\n\n| a |\n|---|\n\n{fused.END}\nafter\n"
    assert fused.with_table(changed, ["| a |", "|---|"]) == changed


@pytest.mark.full
def test_the_table_of_the_documentation_is_up_to_date(fused: ModuleType) -> None:
    pytest.importorskip("timm")
    page = fused.PAGE.read_text(encoding="utf-8")
    assert fused.with_table(page, fused.table()) == page
