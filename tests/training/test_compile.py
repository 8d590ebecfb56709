"""Compiled networks: equal predictions and equal parameter names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from running import resume, run
from torch import nn

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError

OPTIONS = ["trainer.max_epochs=2", "model.dropout=0.0", "model.channels=[4]"]


@pytest.fixture(scope="module")
def plain(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training that was not compiled. Read only."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    run(tiny_urbansound8k, folder, *OPTIONS)
    return folder


def use(patch: pytest.MonkeyPatch, backend: Any) -> None:
    """Have networks traced as they always are, and then executed by something that needs no minutes to build."""
    compiled = nn.Module.compile
    patch.setattr(nn.Module, "compile", lambda self: compiled(self, backend=backend))


def assert_same(plain: Path, folder: Path) -> None:
    states = [torch.load(f / "checkpoints/best.ckpt", weights_only=True)["state_dict"] for f in (plain, folder)]
    assert list(states[0]) == list(states[1])
    answers = [pd.read_csv(f / "predictions.csv").filter(like="probability").to_numpy() for f in (plain, folder)]
    np.testing.assert_allclose(*answers, atol=1e-4)
    AudioClassifier.load_from_checkpoint(folder / "checkpoints/best.ckpt")


def test_a_compiled_training_is_the_same_in_two_programs(
    tiny_urbansound8k: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[list[int]] = []

    def backend(graph: Any, inputs: Any) -> Any:
        built.append([value for value in inputs if isinstance(value, int)])
        return graph.forward

    use(monkeypatch, backend)
    torch._dynamo.reset()
    run(tiny_urbansound8k, tmp_path / "run", *OPTIONS, "compile=true")  # batches of 8, 8 and 2; evaluation: 8 and 1
    # Training, and evaluation of any size and of one clip. The validation that calibrates is a call deeper, which the
    # type checks of the tests (jaxtyping) guard on, so that evaluation counts twice here.
    assert len(built) <= 5
    assert_same(plain, tmp_path / "run")


def test_a_compilation_error_is_one_line(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    use(monkeypatch, backend)
    torch._dynamo.reset()
    with pytest.raises(ConfigError, match=r"CNN cannot be compiled .*No working C\+\+ compiler.*compile=false"):
        run(tiny_urbansound8k, tmp_path / "run", *OPTIONS, "compile=true")


@pytest.mark.full
def test_the_compiler_itself(tiny_urbansound8k: Path, plain: Path, tmp_path: Path) -> None:
    torch._dynamo.reset()
    run(tiny_urbansound8k, tmp_path / "run", *OPTIONS, "compile=true")
    assert_same(plain, tmp_path / "run")
    assert resume(tmp_path / "run", "trainer.max_epochs=3")["epochs"] == 3
