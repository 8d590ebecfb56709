"""Notebooks of the documentation: stored outputs are clean, and the notebooks run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[1] / "docs/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 400_000
"""Bytes of a notebook with its pictures."""


def cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def texts(path: Path) -> str:
    """Everything that is stored but pictures."""
    found = nbformat.read(path, as_version=4)
    for cell in found.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return nbformat.writes(found)


def test_a_notebook_exists() -> None:
    assert FOLDER / "first_steps.ipynb" in NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_are_complete_and_clean(path: Path) -> None:
    stored = cells(path)
    assert [cell.execution_count for cell in stored] == list(range(1, len(stored) + 1)), "executed from top to bottom"
    outputs = [output for cell in stored for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < LARGEST
    text = texts(path)
    assert not (found := re.findall(r"(?<![\w.<])/(?:work|tmp|root|home|Users|usr|opt|var)\b[^\s\"']*", text)), found
    assert "\\u001b" not in text, "codes for a terminal"
    assert not re.search(r"site-packages|\.cache|\bat 0x[0-9a-f]+", text)


@pytest.mark.full
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    command = [sys.executable, str(FOLDER / "execute.py"), path.stem, "--to", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(cells(tmp_path / path.name)) == len(cells(path))
