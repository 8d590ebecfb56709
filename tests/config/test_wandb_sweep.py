"""``conf/wandb_sweep.yaml``: the agent's command is a valid command line."""

import itertools
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from audio_lightning.config import check_config, compose, config_dir

SWEEP: dict[str, Any] = yaml.safe_load((config_dir() / "wandb_sweep.yaml").read_text(encoding="utf-8"))


def command(values: dict[str, Any]) -> list[str]:
    """Command of the agent for a trial, built as the agent builds it."""
    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    given |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [SWEEP["program"]]}
    found: list[str] = []
    for part in create_sweep_command(SWEEP["command"]):
        found += given[part[2:-1]] if part.startswith("${") else [part]
    return found


def trials() -> list[dict[str, Any]]:
    parameters = SWEEP["parameters"]
    return [dict(zip(parameters, values)) for values in itertools.product(*(p["values"] for p in parameters.values()))]


@pytest.mark.parametrize("values", trials(), ids=lambda values: "-".join(map(str, values.values())))
def test_wandb_agent_starts_a_training(values: dict[str, Any]) -> None:
    start, program, arguments = command(values)[:2], command(values)[2], command(values)[3:]
    assert (start, program) == (["/usr/bin/env", "python"], "train.py")
    config = compose(arguments, with_hydra=True)
    chosen = config.hydra.runtime.choices
    assert {name: chosen.get(name, config.get(name)) for name in values} == values
    assert chosen["logger"] == "wandb"
    plain = compose(arguments)
    check_config(plain)
    assert plain.monitor == SWEEP["metric"]["name"]
