"""The order of the rooms: each may import from those above it, never from one below."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "audio_lightning"

ROOMS = (
    "errors", "files", "lazy", "task", "config", "audio", "features", "augment", "models", "data", "metrics", "losses",
    "schedulers", "checkpoint", "finetune", "networks", "catalog", "classifier", "training", "inference", "compare",
    "report", "sweeps", "cli", "__main__",
)  # fmt: skip

MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules of this package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.startswith("audio_lightning.")}


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards(path: Path) -> None:
    if room(path) == "__init__":
        return
    place = ROOMS.index(room(path))
    for name in imported(path):
        assert ROOMS.index(name.split(".")[1]) <= place, f"{path.name} imports {name}, which is below it"


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.stem)
def test_architectures_know_neither_lightning_nor_hydra_nor_each_other(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.split(".")[0] for name in modules} & {"lightning", "hydra", "omegaconf"}
    others = {name for name in modules if name.startswith("audio_lightning.models.")}
    # What several have in common: weights in torchvision's and in Hugging Face's layout.
    assert others <= {f"audio_lightning.models.{name}" for name in ("base", "hub", "vision")}
