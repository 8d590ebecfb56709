"""Targets of a configuration: only allowed classes of the right kind are built."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_lightning.classifier.schedulers import Decay, WarmupCosine
from audio_lightning.config import build, resolve
from audio_lightning.config.targets import accepted, check_arguments, grouped, refused
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.settings import Settings


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "audio_lightning.data.store.cache.shutil.rmtree",
        "audio_lightning.data.store.cache.os",
        "audio_lightning.data.store.cache.decode_all",
        "audio_lightning.classifier.classifier.random.Random",
        "audio_lightning.classifier.schedulers.LambdaLR",
        "audio_lightning.nothing.Here",
        "audio_lightning.classifier.schedulers.Nothing",
        "audio_lightning",
        "audio_lightning_evil.Thing",
        "",
        None,
        3,
    ],
)
def test_what_is_not_a_class_of_this_package_is_refused(target: object) -> None:
    with pytest.raises(ConfigError, match=r"^thing\._target_="):
        resolve(target, object, where="thing")


def test_a_class_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a Optimizer, which optimizer must be"):
        resolve("audio_lightning.classifier.schedulers.Decay", torch.optim.Optimizer, where="optimizer")


def test_misspelled_class_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"did you mean WarmupCosine\?"):
        resolve("audio_lightning.classifier.schedulers.WarmUpCosine", WarmupCosine, where="scheduler")


def test_build_passes_inferred_arguments() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    node = {"_target_": "torch.optim.SGD", "lr": 0.1}
    optimizer = build(node, torch.optim.Optimizer, where="optimizer", params=[parameter])
    assert optimizer.param_groups[0]["lr"] == 0.1


class Example:
    def __init__(self, size: int, mode: str = "a", rate: float = 0.5, widths: list[int] | None = None) -> None:
        """An object with arguments of the usual types."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1, "wide": 2}, "thing has no argument wide"),
        ({"size": 1, "moode": "b"}, "thing has no argument moode; did you mean mode?"),
        ({}, "thing.size must be given"),
        ({"size": "x"}, "thing.size='x': expected a whole number"),
        ({"size": True}, "thing.size=true: expected a whole number"),
        ({"size": 1, "rate": "x"}, "thing.rate='x': expected a number"),
        ({"size": 1, "widths": [1, "x"]}, "expected a list of a whole number | null"),
        ({"size": 1, "supplied": 2}, "thing has no argument supplied"),
    ],
)
def test_arguments_are_checked_against_the_signature(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(Example, arguments, {"supplied": 1}, where="thing")
    assert message in str(caught.value)


class Derived(Example):
    def __init__(self, *, depth: int = 1, **options: Any) -> None:
        """An object that hands on what it does not know."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1, "words": 2}, "thing has no argument words (Derived takes: depth, mode, rate, size, widths"),
        ({"size": "x"}, "thing.size='x': expected a whole number"),
        ({"size": 1, "depth": "x"}, "thing.depth='x': expected a whole number"),
        ({"depth": 1}, "thing.size must be given"),
    ],
)
def test_forwarded_arguments_are_checked_against_the_base_signature(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(Derived, arguments, {}, where="thing")
    assert message in str(caught.value)
    check_arguments(Derived, {"size": 1, "depth": 2, "mode": "b"}, {}, where="thing")


def test_a_class_of_an_installed_package_may_supply_what_its_base_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As optimizers of pytorch-optimizer do."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "some_optimizers.py").write_text(
        "class Base:\n"
        "    def __init__(self, params, defaults): ...\n"
        "class Soap(Base):\n"
        "    def __init__(self, params, lr: float = 1.0, **options): super().__init__(params, {'lr': lr})\n"
    )
    monkeypatch.syspath_prepend(packages)
    soap = importlib.import_module("some_optimizers").Soap

    check_arguments(soap, {"lr": 0.5}, {"params": []}, where="optimizer")
    with pytest.raises(ConfigError, match=r"optimizer\.lr='x'"):
        check_arguments(soap, {"lr": "x"}, {"params": []}, where="optimizer")


@dataclass(frozen=True)
class Sides(Settings):
    left: int = 1
    right: int = 2


class Grouping(Example):
    def __init__(self, size: int, sides: Sides = Sides(right=3)) -> None:
        """An object with a group of arguments, for which it has a default of its own."""
        self.sides = sides


def test_settings_fields_are_arguments_with_the_defaults_of_the_class() -> None:
    assert {name: parameter.default for name, parameter in accepted(Grouping)[0].items() if name != "size"} == {
        "left": 1, "right": 3,
    }  # fmt: skip
    assert grouped(Grouping, {"size": 1, "left": 4}) == {"size": 1, "sides": Sides(left=4, right=3)}
    assert Grouping(**grouped(Grouping, {"size": 1})).sides == Sides(right=3)
    with pytest.raises(ConfigError, match=r"thing\.left='x': expected a whole number"):
        check_arguments(Grouping, {"size": 1, "left": "x"}, {}, where="thing")


def test_arguments_that_a_library_class_passes_to_its_base_are_optional() -> None:
    cls = resolve("lightning.pytorch.loggers.TensorBoardLogger", object, where="logger.x")
    check_arguments(cls, {"save_dir": "x"}, {}, where="logger.x")
    with pytest.raises(ConfigError, match=r"logger\.x\.save_dir must be given"):
        check_arguments(cls, {}, {}, where="logger.x")


class Tensors:
    """Class of a library, with arguments that a configuration cannot give."""

    def __init__(self, lr: float | Tensor = 1e-3, noise: Tensor | None = None, size: int | None = None) -> None:
        pass


def test_null_is_refused_unless_it_is_the_default() -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.lr=null: expected a number$"):
        check_arguments(Tensors, {"lr": None}, {}, where="optimizer")
    check_arguments(Tensors, {"lr": 1, "noise": None, "size": None}, {}, where="optimizer")


def test_null_is_written_as_in_yaml() -> None:
    message = refused(Tensors, {"lr": None, "noise": True, "size": 2}, ValueError("no"))
    assert message == "no (lr=null, noise=true, size=2)"


def test_good_arguments_pass() -> None:
    check_arguments(Example, {"size": 1, "rate": 1, "widths": None}, {}, where="thing")
    check_arguments(Decay, {"whole_epochs": 2}, dict.fromkeys(("optimizer", "gamma")), where="scheduler")


KINDS = {
    "augment.waveform.x": "torch.nn.Module",
    "callbacks.x": "lightning.pytorch.callbacks.Callback",
    "data": "audio_lightning.data.datamodule.AudioDataModule",
    "feature": "audio_lightning.features.base.FrontEnd",
    "logger.x": "lightning.pytorch.loggers.Logger",
    "model": "audio_lightning.models.base.AudioModel",
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "trainer": "lightning.pytorch.Trainer",
}
"""Nodes, and valid targets for them."""

HOSTILE = (
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "torch.load",
    "torch.hub.load",
    "torch.hub",
    "torch.nn.Linear",
    "torch.optim",
    "torch.optim.lr_scheduler",
    "torch.optim.swa_utils.AveragedModel",
    "lightning.pytorch",
    "lightning.pytorch.seed_everything",
    "lightning.pytorch.LightningModule",
    "lightning.pytorch.cli.LightningCLI",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.callbacks.callback",
    "lightning.pytorch.loggers.wandb",
    "lightning.pytorch.utilities.rank_zero_only",
    "lightning.pytorch.trainer.connectors.checkpoint_connector.os.system",
    "lightning.fabric.utilities.cloud_io._load",
    "torchmetrics.classification.Accuracy",
    "audio_lightning.core.files.write_text",
    "audio_lightning.core.files.os.remove",
    "audio_lightning.core.files",
    "audio_lightning.core.errors.ConfigError",
)
"""Functions, modules and classes that are invalid for every node."""

OF_ONE_KIND = {
    "callbacks.x": "lightning.pytorch.callbacks.Timer",
    "logger.x": "lightning.pytorch.loggers.CSVLogger",
    "optimizer": "torch.optim.RAdam",
    "scheduler": "torch.optim.lr_scheduler.StepLR",
    "trainer": "lightning.pytorch.Trainer",
}


@pytest.mark.parametrize("where", KINDS)
@pytest.mark.parametrize("target", [*HOSTILE, *OF_ONE_KIND.values()])
def test_node_accepts_only_classes_of_its_kind(where: str, target: str) -> None:
    module, _, name = KINDS[where].rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    if OF_ONE_KIND.get(where) == target:
        assert issubclass(resolve(target, kind, where=where), kind)
        return
    with pytest.raises(ConfigError, match=rf"^{re.escape(where)}\._target_=[^\n]*$"):
        resolve(target, kind, where=where)
