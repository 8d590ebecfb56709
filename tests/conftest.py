"""Fixtures shared by all packages."""

import os
from pathlib import Path
from types import ModuleType

import pytest
import tiny

# Two test processes share two cores, and more threads than cores slow small networks down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary cache instead of the user's, shared by the tests of a process for the demo data."""
    root = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("AUDIO_LIGHTNING_CACHE", str(root))
    # No test depends on published weights on the machine.
    monkeypatch.setenv("TORCH_HOME", str(root / "torch"))
    monkeypatch.delenv("AUDIO_LIGHTNING_WEIGHTS", raising=False)


@pytest.fixture(autouse=True)
def _random_weights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published networks with random weights, so that no test depends on the installed packages."""
    from audio_lightning.models.pretrained.registry import BACKBONES

    if request.node.get_closest_marker("published") is None:
        for backbone in BACKBONES.values():
            monkeypatch.setattr(backbone, "load", lambda self: None)


@pytest.fixture(scope="session")
def torchaudio() -> ModuleType:
    """torchaudio, as a reference. Its compiled extension does not load with every version of torch."""
    from audio_lightning.models.torchaudio_networks import import_error

    if import_error is not None:
        pytest.skip(f"torchaudio cannot be imported beside this torch: {import_error}")
    import torchaudio

    return torchaudio


@pytest.fixture(scope="session")
def tiny_urbansound8k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set in the layout of UrbanSound8K. Read only."""
    return tiny.write_urbansound8k(tmp_path_factory.mktemp("tiny") / "urban sound=8k (ö)")


@pytest.fixture(scope="session")
def trained(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished training on the tiny data. Read only."""
    from running import run

    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        run(tiny_urbansound8k, folder)
    return folder


@pytest.fixture(scope="session")
def swept(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished sweep over two seeds of the tiny data. Read only."""
    from audio_lightning.cli.sweep import main

    folder = tmp_path_factory.mktemp("swept") / "sweep"
    line = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        assert main([*line, "seed=0,1", "plots=false", f"sweep.dir={folder}"]) == 0
    return folder
