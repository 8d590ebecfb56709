"""Import order of the rooms: each may import from rooms above it, never from one below."""

import ast
from pathlib import Path

import pytest

import audio_lightning

PACKAGE = Path(__file__).parents[1] / "audio_lightning"

ROOMS = (
    "core", "config", "run_folder", "audio", "features", "augment", "models", "losses", "metrics", "data", "classifier",
    "planning", "distributed", "figures", "loggers", "training", "inference", "compare", "report", "sweeps", "fit",
    "api", "cli", "__main__",
)  # fmt: skip

MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of what a file of this package imports from it, anywhere in it and in whatever way."""
    package = ["audio_lightning", *path.relative_to(PACKAGE).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # Each name imported from the package itself may be a room; names exported by __init__ belong to the API.
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "audio_lightning" else {module}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            names |= {value.value for value in node.args[:1] if isinstance(value, ast.Constant)}
    return {
        "audio_lightning.api" if name.rpartition(".")[2] in audio_lightning.__all__ and name.count(".") == 1 else name
        for name in names
        if name.startswith("audio_lightning.") and not name.endswith(".__version__")
    }


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} == set(ROOMS)


def test_rooms_import_only_from_rooms_above() -> None:
    assert not [
        f"{path.relative_to(PACKAGE)} imports {name}, which is below it"
        for path in MODULES
        if room(path) != "__init__"
        for name in imported(path)
        if ROOMS.index(name.split(".")[1]) > ROOMS.index(room(path))
    ]


@pytest.mark.parametrize(
    "line",
    [
        "import audio_lightning.sweeps.runner",
        "import audio_lightning.sweeps as s",
        "from audio_lightning.sweeps import runner",
        "from audio_lightning import sweeps",
        "from audio_lightning import errors, sweeps as s",
        "from .. import sweeps",
        "from ..sweeps import runner",
        "from ..sweeps.runner import TrialRunner",
        "def late():\n    from audio_lightning.sweeps import runner",
        "if TYPE_CHECKING:\n    import audio_lightning.sweeps.runner",
        "import_module('audio_lightning.sweeps.runner')",
        "importlib.import_module('audio_lightning.sweeps')",
        "__import__('audio_lightning.sweeps')",
    ],
)
def test_all_forms_of_imports_are_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/cnn.py").write_text(line)
    assert "sweeps" in {name.split(".")[1] for name in imported(tmp_path / "models/cnn.py")}


def test_the_api_is_seen_where_it_is_named_by_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    (tmp_path / "task.py").write_text("from audio_lightning import __version__, train")
    assert imported(tmp_path / "task.py") == {"audio_lightning.api"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.stem)
def test_architectures_import_neither_lightning_nor_hydra_nor_each_other(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.split(".")[0] for name in modules} & {"lightning", "hydra", "omegaconf"}
    others = {name for name in modules if name.startswith("audio_lightning.models.")}
    others -= {name for name in others if name.startswith("audio_lightning.models.pretrained.")}
    # What several share: contract, costs, layers, memory, published weights (torchvision, Hugging Face), torchaudio.
    assert others <= {
        f"audio_lightning.models.{name}"
        for name in ("base", "hub", "layers", "macs", "memory", "torchaudio_networks", "vision_weights")
    }


def test_one_module_imports_torchaudio() -> None:
    importers = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torchaudio")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "torchaudio" for alias in node.names))
    }
    assert importers == {"models/torchaudio_networks.py"}
