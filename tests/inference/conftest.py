"""A trained classifier for the tests of this room."""

from pathlib import Path

import pytest
from running import run


@pytest.fixture(scope="session")
def trained(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished training on the tiny data. Read only."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        run(tiny_urbansound8k, folder)
    return folder
