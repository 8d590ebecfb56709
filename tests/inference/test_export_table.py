"""Every front end and model is exported, or rejected in one line; docs/how-to/export.md has the results."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from audio_lightning.config import choices as names

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

CHOICES = [f"{group}={name}" for group in ("feature", "model") for name in names(group)]


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import exports

    return exports


def rows(exports: ModuleType) -> dict[str, str]:
    """The lines of the table on the page, by choice."""
    _, _, rest = exports.PAGE.read_text(encoding="utf-8").partition(exports.BEGIN)
    found = re.findall(r"^(\| `((?:feature|model)=\w+)` \|.*)$", rest.partition(exports.END)[0], re.MULTILINE)
    return {choice: line for line, choice in found}


@pytest.mark.full
@pytest.mark.parametrize("choice", CHOICES)
def test_choices_are_exported_or_rejected_in_one_line(choice: str, exports: ModuleType) -> None:
    needed = exports.PACKAGES.get(choice.partition("=")[2])
    if needed is not None:
        pytest.importorskip(needed)
    found = exports.row_of(choice)
    assert re.fullmatch(r"yes|any|fixed", found.entry) or re.fullmatch(r"[^\n]+cannot be exported[^\n]+", found.reason)
    assert str(found) == rows(exports)[choice]


def test_the_table_has_every_choice(exports: ModuleType) -> None:
    found = rows(exports)
    assert list(found) == CHOICES == exports.every_choice()
    for choice, line in found.items():
        lengths = r"yes" if choice.startswith("feature") else r"any|fixed"
        assert re.fullmatch(rf"\| `{choice}` \| (({lengths}) \|  \||no \| [^|]+ \|)", line), line


def test_the_table_is_written_between_its_markers(exports: ModuleType) -> None:
    page = f"before\n{exports.BEGIN}\nold\n{exports.END}\nafter\n"
    found = [exports.Row("model=cnn", "fixed"), exports.Row("model=knn", "no", "it cannot | be exported")]
    assert exports.with_table(page, exports.table(found)) == (
        f"before\n{exports.BEGIN}\n\n| choice | exported, length of clips | reason |\n|---|---|---|\n"
        f"| `model=cnn` | fixed |  |\n| `model=knn` | no | it cannot \\| be exported |\n\n{exports.END}\nafter\n"
    )


def test_a_model_that_differs_is_an_error(exports: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MOST_DIFFERENCE", -1)
    with pytest.raises(RuntimeError, match="feature=mel model=cnn: probabilities differ by "):
        exports.row_of("feature=mel")
