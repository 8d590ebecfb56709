"""The wheel works without a checkout of the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which the built wheel is installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("audio_lightning-*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def command(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from audio_lightning.cli.main import main; sys.argv[0] = 'audio-lightning'; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip


def test_the_wheel_carries_the_configuration(installed: Path, tmp_path: Path) -> None:
    code = "import audio_lightning, audio_lightning.config as c; print(audio_lightning.__file__, c.config_dir())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    package, config = result.stdout.split()
    assert package == str(installed / "audio_lightning/__init__.py")
    assert config == str(installed / "audio_lightning/conf")


@pytest.mark.full
def test_it_trains_and_predicts(installed: Path, tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    trained = command(
        installed, tmp_path, "train", "data=urbansound8k", f"data.root={root}", *tiny.TRAIN_OVERRIDES,
        "hydra.run.dir=run",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    predicted = command(installed, tmp_path, "predict", "run", str(root / "audio/fold1"))
    assert predicted.returncode == 0, predicted.stderr
    assert len(predicted.stdout.splitlines()) == 1 + 9
    assert command(installed, tmp_path, "train", "model=resnt").returncode == 2


def test_the_citation_names_the_version_that_the_package_has() -> None:
    from audio_lightning import __version__

    assert f"\nversion: {__version__}\n" in (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
