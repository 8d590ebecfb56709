"""A small user package outside of this repository."""

import sys
from pathlib import Path

import pytest

MODULE = "my_sounds"

NETS = """
from torch import nn
from torch.nn import Linear

from audio_lightning.models.base import AudioModel


class Pooled(AudioModel):
    input_kind = "spectrogram"

    def __init__(self, input_shape, num_classes, *, width: int = 8) -> None:
        super().__init__(input_shape, num_classes)
        self.layer = nn.Linear(input_shape.dims[0] * input_shape.dims[1], width)
        self.embedding_dim = width
        self.head = nn.Linear(width, num_classes)

    def embed(self, x):
        return self.layer(x.mean(-1).flatten(1)).relu()


class NoModel(nn.Module):
    pass
"""

FRONTS = """
import torch

from audio_lightning.features.base import FrontEnd


class Power(FrontEnd):
    def __init__(self, *, sample_rate: int, num_samples: int, size: int = 64, normalize: str = "clip") -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.size = size

    def compute(self, waveform):
        frames = torch.nn.functional.pad(waveform, (0, self.size)).unfold(-1, self.size, self.size)
        return torch.fft.rfft(frames).abs().log1p().transpose(1, 2).unsqueeze(1)
"""

MORE = """
from lightning.pytorch.callbacks import Callback

from audio_lightning.data.sources.folder import Folder


class Sounds(Folder):
    pass


class Note(Callback):
    def __init__(self, *, path: str) -> None:
        self.path = path

    def on_train_end(self, trainer, pl_module) -> None:
        open(self.path, "w").write("trained")
"""

YAMLS = {
    "model/pooled.yaml": "_target_: my_sounds.nets.Pooled\nwidth: 8\n",
    "model/no_model.yaml": "_target_: my_sounds.nets.NoModel\n",
    "model/borrowed.yaml": "_target_: my_sounds.nets.Linear\n",
    "model/absent.yaml": "_target_: my_sounds.nets.Poled\n",
    "model/broken.yaml": "_target_: my_sounds.broken.Net\n",
    "feature/power.yaml": "_target_: my_sounds.fronts.Power\nsize: 64\nnormalize: clip\n",
    "experiment/mine.yaml": (
        "# @package _global_\ntrusted_modules: my_sounds\nmodel:\n  _target_: my_sounds.nets.Pooled\n"
    ),
}

LINE = ["feature=power", "model=pooled", "data.sample_rate=8000", "data.clip_seconds=0.25", "data.batch_size=8",
        "trainer=cpu", "trainer.max_epochs=2", "logger=none", "plots=false"]  # fmt: skip
"""Overrides that train the model with the front end."""


def write(folder: Path) -> Path:
    """Write the package and its configuration (``conf``) and return the folder to put on Python's path."""
    package = folder / MODULE
    package.mkdir(parents=True)
    files = {"__init__.py": "", "nets.py": NETS, "fronts.py": FRONTS, "more.py": MORE, "broken.py": "import = 3\n"}
    for name, text in files.items():
        (package / name).write_text(text)
    for root in (folder / "conf", package / "conf"):
        for name, text in YAMLS.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return folder


def searched(folder: Path) -> str:
    """The override that adds the choices in ``folder``."""
    return f"hydra.searchpath=['file://{folder}']"


def forget() -> None:
    """As if nothing of it had been imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == MODULE]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package, on Python's path."""
    folder = write(tmp_path_factory.mktemp("outside") / "a b (1)")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        yield folder
    forget()
