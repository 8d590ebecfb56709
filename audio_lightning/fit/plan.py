"""Training plan: measurements of the recordings, settings derived from them, and their cost on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from audio_lightning.classifier.factory import check_networks
from audio_lightning.config import check_config, compose
from audio_lightning.config.location import groups
from audio_lightning.config.overrides import parse_overrides
from audio_lightning.core.cores import cores
from audio_lightning.core.files import write_text
from audio_lightning.core.task import AudioTask
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.splitting.splits import SplitMethod
from audio_lightning.fit.settings import BAD_RECORDINGS
from audio_lightning.fit.survey import Machine
from audio_lightning.planning.fingerprint import Property, fingerprint, require_sound, unreadable
from audio_lightning.planning.rules import Choice, Facts
from audio_lightning.planning.settle import build_data
from audio_lightning.training.decoding_progress import decoding_shown
from audio_lightning.training.step_time import seconds_a_step
from audio_lightning.training.trainer import silence_lightning

RECIPE = "experiment=auto"
"""Default experiment of a plan."""

NOT_PLANNED = ("hydra", "experiment", "debug", "logger", "callbacks")
"""Config groups that are not part of a plan and remain choices of the command line."""

FILE = Path("experiment/plan.yaml")
"""Path of the plan in its folder, where ``--config-dir`` finds it."""


@dataclass(frozen=True)
class Plan:
    """Planned training.

    Attributes:
        config: configuration without ``auto`` and without Hydra's node.
        groups: choice of every group.
        choices: value and reason of each key that was derived from the recordings.
        properties: properties of the data set.
        machine: hardware on which the step was timed.
        step_seconds: median time of a training step in seconds.
        steps_an_epoch: steps per epoch.
        task: task of the data.
        manifest: clips with their splits.
        split_method: how the splits are made.
        unreadable: paths of recordings that cannot be read.
    """

    config: DictConfig
    groups: dict[str, Any]
    choices: dict[str, Choice]
    properties: list[Property]
    machine: Machine
    step_seconds: float
    steps_an_epoch: int
    task: AudioTask
    manifest: Manifest
    split_method: SplitMethod
    unreadable: list[str]

    @property
    def title(self) -> str:
        """Network and feature in a few words."""
        members = int(self.config.ensemble.num_members)
        network = f"{members} x {self.groups['model']}" if members > 1 else str(self.groups["model"])
        return f"{network} on {self.config.feature.get('backbone') or self.groups['feature']}"

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_an_epoch * max(1, int(self.config.trainer.max_epochs or 1))

    @property
    def seconds(self) -> float:
        """Estimated duration of the training in seconds, without decoding, validation and test."""
        return self.steps * self.step_seconds


def make_plan(overrides: Sequence[str], *, timed: bool = True) -> Plan:
    """Measure the recordings, derive the settings that are ``auto``, and time some training steps.

    Args:
        overrides: overrides of a training, with quoted paths; without an experiment, ``experiment=auto`` is planned.
        timed: whether to time steps; otherwise their time is 0 seconds.

    Raises:
        ConfigError: a mistake in the overrides, or choices that cannot be combined.
        DataError: the recordings are not a data set of this kind, are all unreadable or silent, have unusable classes,
            or cannot be split as configured.
    """
    silence_lightning()
    lines = list(overrides)
    typed = {override.key_or_group for override in parse_overrides(lines)}
    if "experiment" not in typed:
        lines.insert(0, RECIPE)
    config = compose(lines, with_hydra=True)
    chosen: Any = OmegaConf.to_container(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    check_config(config)
    datamodule, choices = build_data(config, decoding_shown)
    facts = Facts(datamodule)
    properties = fingerprint(facts)
    manifest = facts.divided
    bad = unreadable(facts)
    require_sound(facts)
    manifest.require_usable_classes()
    if bad and BAD_RECORDINGS not in typed:
        # Otherwise they stop the training.
        total = manifest.table.loc[~manifest.table["background"], "path"].nunique()
        reason = f"{len(bad):,} of {total:,} recordings cannot be read"
        choices[BAD_RECORDINGS] = ("skip", reason)
        OmegaConf.update(config, BAD_RECORDINGS, "skip")
    multilabel = manifest.label_separator is not None
    task = AudioTask(manifest.classes, datamodule.sample_rate, datamodule.num_samples, datamodule.padding, multilabel)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    check_networks(plain, task)
    steps = max(1, facts.train_clips // datamodule.batch_size)
    planned = {name: chosen[name] for name in groups() if name in chosen and name not in NOT_PLANNED}
    return Plan(
        config,
        planned,
        choices,
        properties,
        machine(),
        seconds_a_step(config, task) if timed else 0.0,
        steps,
        task,
        manifest,
        facts.split_method,
        bad,
    )


def machine() -> Machine:
    """Describe this machine: its GPU, otherwise its CPU."""
    import psutil
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Machine(properties.name, cores(), properties.total_memory / 1e9)
    return Machine("CPU", cores(), psutil.virtual_memory().total / 1e9)


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write a plan as an experiment for ``--config-dir FOLDER experiment=plan``, with the reasons as comments.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / FILE
    write_text(path, plan_text(plan))
    return path


def plan_text(plan: Plan) -> str:
    """Return the YAML of an experiment that composes to the configuration of a plan."""
    lines = ["# @package _global_", "# Made by `audio-lightning plan` from these properties of the recordings:"]
    lines += [f"# {found.name}: {found.value}" for found in plan.properties]
    lines += ["# Every line may be changed.", "defaults:"]
    lines += [f"  - override /{name}: {_value(choice)}" for name, choice in plan.groups.items()]
    base = compose([f"{name}={_value(choice)}" for name, choice in plan.groups.items()])
    changed = _differences(OmegaConf.to_container(plan.config), OmegaConf.to_container(base))
    lines += ["", *_yaml_lines(changed, plan.choices)]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")


def _differences(values: Any, base: Any) -> dict[str, Any]:
    """Return the entries of a nested mapping that differ from, or are missing in, a second one."""
    found = {}
    for key, value in values.items():
        other = base.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if inner := _differences(value, other):
                found[key] = inner
        elif key not in base or value != other:
            found[key] = value
    return found


def _yaml_lines(values: dict[str, Any], choices: dict[str, Choice], prefix: str = "", indent: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *_yaml_lines(value, choices, f"{prefix}{key}.", f"{indent}  ")]
        else:
            why = choices.get(f"{prefix}{key}")
            lines.append(f"{indent}{key}: {_value(value)}" + (f"  # {why[1]}" if why else ""))
    return lines
