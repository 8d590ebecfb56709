"""Extreme values of options are refused before audio is read."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import choices
import pytest
import torch
from omegaconf import OmegaConf

from audio_lightning.classifier.factory import build_front_end, build_network, check_networks
from audio_lightning.config import choices as names
from audio_lightning.config import compose, trusting
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.models.lstm import LSTM

TASK = AudioTask(("a", "b", "c"), 8000, 8000)
INCLUDED = [name for name in names("model") if name not in choices.PACKAGES]


def config_of(name: str, **options: Any) -> dict[str, Any]:
    kind = choices.target("model", name).input_kind
    feature = "waveform" if kind == "waveform" else "logmel"
    lines = [f"model={name}", f"feature={feature}", f"data.sample_rate={TASK.sample_rate}"]
    config: Any = OmegaConf.to_container(compose(lines), resolve=True)
    return {**config, "model": {**config["model"], **options}}


def numbers(name: str) -> Iterator[tuple[str, Any]]:
    """Each integer option of a model, and the first element of each list of integers, set to 0 and -1."""
    for option, value in choices.load("model", name).items():
        for wrong in (0, -1):
            if isinstance(value, int) and not isinstance(value, bool):
                yield option, wrong
            elif isinstance(value, list):
                yield option, [wrong, *value[1:]]
    if name == "cnn_deep":
        yield "pooled", [-1, -1]


@pytest.mark.parametrize("name", INCLUDED)
def test_extreme_numbers_work_or_are_refused_in_one_line(name: str, subtests: pytest.Subtests) -> None:
    for option, value in numbers(name):
        with subtests.test(option=option, value=value):
            works_or_is_refused(name, option, value)


def works_or_is_refused(name: str, option: str, value: Any) -> None:
    config = config_of(name, **{option: value})
    refusal = ""
    try:
        check_networks(config, TASK)
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert option in refusal
        assert "\n" not in refusal
        return
    shape = build_front_end(config, TASK).output_shape
    network = build_network(config, shape, TASK).train()
    logits = network(torch.randn(4, *shape.dims))
    assert logits.shape == (4, 3)
    assert logits.isfinite().all()
    logits.sum().backward()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "ast",
            {"num_heads": 0},
            "model: AST refuses its arguments: ZeroDivisionError: integer modulo by zero (num_heads=0)",
        ),
        (
            "cnn",
            {"channels": [0, 8], "dropout": 0.0},
            "model: CNN cannot compute on a spectrogram [1, 64, 101]: blocks.0.0.weight of shape "
            "[0, 1, 3, 3] is empty (channels=[0, 8], dropout=0.0)",
        ),
    ],
)
def test_the_message_contains_options_that_differ_from_defaults(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_networks(config_of(name, **options), TASK)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", INCLUDED)
def test_default_options_pass(name: str) -> None:
    check_networks(config_of(name), AudioTask(TASK.classes, 16000, 32000))


def test_recurrent_layers_are_checked_with_a_short_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    embed, frames = LSTM.embed, []

    def seen(self: LSTM, x: torch.Tensor) -> torch.Tensor:
        frames.append(x.shape[-1])
        return embed(self, x)

    monkeypatch.setattr(LSTM, "embed", seen)
    check_networks(config_of("lstm"), AudioTask(TASK.classes, 8000, 80_000))
    assert frames == [1]


VALUES_NEEDED = """
from torch import nn

from audio_lightning.models.base import AudioModel


class Loud(AudioModel):
    input_kind = "spectrogram"

    def __init__(self, input_shape, num_classes, *, every: int = 1) -> None:
        super().__init__(input_shape, num_classes)
        self.every = every
        self.embedding_dim = input_shape.dims[1]
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x):
        loudest = x.abs().max().item()
        return x[:, 0, :, :: self.every].mean(-1) / max(loudest, 1.0)
"""


def test_a_network_that_depends_on_values_is_run_with_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud_nets.py").write_text(VALUES_NEEDED)
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "loud_nets.Loud", "every": 2}
    config = {**config_of("cnn"), "model": node}
    state = torch.get_rng_state()
    with trusting("loud_nets"):
        check_networks(config, TASK)
        with pytest.raises(
            ConfigError,
            match=r"model: Loud cannot compute on a .*: Loud.embed raised ValueError: slice step .*loud_nets.py, line",
        ):
            check_networks({**config, "model": {**node, "every": 0}}, TASK)
    assert torch.equal(torch.get_rng_state(), state)
    del sys.modules["loud_nets"]
