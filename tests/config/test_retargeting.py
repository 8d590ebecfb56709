"""A class named on the command line instead of the choice's: only its own arguments are kept."""

import sys

import pytest

from audio_lightning.config import check_config, compose
from audio_lightning.config.compose import KEPT
from audio_lightning.core.errors import ConfigError


@pytest.fixture(autouse=True)
def _say_again() -> None:
    sys.modules[compose.__module__]._say.cache_clear()


@pytest.mark.parametrize(
    ("typed", "node", "expected", "left_out"),
    [
        (
            ["optimizer._target_=torch.optim.RAdam", "optimizer.decoupled_weight_decay=true", "optimizer.lr=0.01"],
            "optimizer",
            {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "decoupled_weight_decay": True},
            "optimizer: RAdam does not take amsgrad; left out",
        ),
        (
            ["optimizer=sgd", "optimizer._target_=torch.optim.AdamW", "optimizer.amsgrad=true"],
            "optimizer",
            {"lr": 0.01, "weight_decay": 5e-4, "amsgrad": True},
            "optimizer: AdamW does not take momentum, dampening, nesterov; left out",
        ),
        (
            ["scheduler._target_=torch.optim.lr_scheduler.StepLR", "scheduler.step_size=3", "scheduler.interval=epoch"],
            "scheduler",
            {"step_size": 3, "interval": "epoch"},
            "scheduler: StepLR does not take warmup_ratio, min_lr_ratio; left out",
        ),
        (
            ["scheduler=none", "scheduler._target_=torch.optim.lr_scheduler.StepLR", "scheduler.step_size=1"],
            "scheduler",
            {"step_size": 1},
            None,
        ),
        (["+callbacks.timer={_target_: lightning.pytorch.callbacks.Timer, duration: 00:01:00:00}"], "callbacks.timer",
         {"duration": "00:01:00:00"}, None),
    ],
)  # fmt: skip
def test_arguments_that_the_new_class_lacks_are_dropped(
    typed: list[str],
    node: str,
    expected: dict[str, object],
    left_out: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        config = compose(typed)
        check_config(config)
        found = config
        for part in node.split("."):
            found = found[part]
        kept = dict.fromkeys(KEPT.get(node, ()), 0.0) if node == "optimizer" else {}
        assert {name: value for name, value in found.items() if name != "_target_"} == expected | kept
    assert capsys.readouterr().err == (f"note: {left_out}\n" if left_out else ""), "said once"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["optimizer._target_=torch.load"], r"optimizer\._target_=torch\.load is not allowed; expected a class of"),
        (["optimizer._target_=torch.optim.RAdm"], r"torch\.optim has no RAdm; did you mean RAdam\?"),
        (["optimizer._target_=torch.nn.Linear"], "is not allowed"),
        (["scheduler._target_=torch.optim.SGD"], "is not allowed"),
        (["+callbacks.x._target_=lightning.pytorch.loggers.CSVLogger"], "is not allowed"),
        (["+callbacks.x._target_=lightning.pytorch.utilities.rank_zero_only"], "is not allowed"),
        (["model._target_=torch.optim.SGD"], "is not allowed"),
    ],
)
def test_a_class_of_another_library_is_refused(typed: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(compose(typed))
