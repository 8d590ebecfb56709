"""Every YAML in conf/: it composes, names all arguments of its target, and has no ambiguous values."""

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
from omegaconf import DictConfig, OmegaConf

from audio_lightning.classifier.optimizers import WEIGHT_DECAYS
from audio_lightning.classifier.schedulers import LIGHTNING_KEYS
from audio_lightning.classifier.warm_start import KEY
from audio_lightning.config import check_config, choices, compose, config_dir, resolve
from audio_lightning.config.automatic import AUTO
from audio_lightning.config.location import groups
from audio_lightning.config.targets import accepted, check_arguments, library_of, split_node, takes
from audio_lightning.config.validate import settle
from audio_lightning.core.task import PER_CLASS
from audio_lightning.losses.training_loss import PROGRAM_KEYS

SUPPLIED: dict[str, set[str]] = {
    "data": set(),
    "augment": {"sample_rate"},
    "feature": {"sample_rate", "num_samples"},
    "model": {"input_shape", "num_classes"},
    "loss": {"multilabel", "reduction"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "T_max", "total_steps", "epochs", "steps_per_epoch", "max_lr", "mode", "last_epoch"},
    "callbacks": {"mode"},
    "metrics": {"task", "num_classes", "num_labels"},
    "logger": {"save_dir"},
}
"""Arguments that the program infers, by group."""

LEFT_OUT = {
    "torch.nn": {"weight", "pos_weight", "ignore_index", "size_average", "reduce", *PROGRAM_KEYS},
    "torch.optim": {"foreach", "fused", "capturable", "differentiable", "maximize"},
    "torchmetrics.classification": {
        "ignore_index", "validate_args", "multidim_average", "threshold", "thresholds", "top_k", "max_fpr",
    },
}  # fmt: skip
"""Arguments that no YAML has to name, by library: keys of this program, the tensors that loss.class_weights fills in,
and averages of a batch; implementation switches; subsets of the clips, thresholds, and other dimensions."""

NOT_OFFERED = {"torch.optim.Adam": {"decoupled_weight_decay"}}
"""Arguments that another YAML covers: decoupled decay is optimizer=adamw."""

TRAINER_SUPPLIED = {
    "logger", "callbacks", "default_root_dir", "enable_progress_bar", "enable_checkpointing", "enable_model_summary",
    "num_sanity_val_steps",
}  # fmt: skip
TRAINER_LEFT_OUT = {
    "fast_dev_run": "it switches checkpoints off, without which nothing can be tested",
    "val_check_interval": "the history, the checkpoints and the schedules go by epochs",
    "limit_predict_batches": "predictions are not made by the Trainer",
    "barebones": "it switches metrics and checkpoints off",
    "plugins": "objects, not values",
    "inference_mode": "nothing needs gradients in evaluation",
    "use_distributed_sampler": "the samplers here divide the clips themselves",
    "reload_dataloaders_every_n_epochs": "the data does not change",
    "enable_autolog_hparams": "loggers here take the configuration as it is",
    "model_registry": "a service",
}

CHOICES = [(group, name) for group in groups() for name in choices(group)]
TARGETED = [(group, name) for group, name in CHOICES if group in SUPPLIED]


MANDATORY = {"demo": [], "table": ["data.root=.", "data.table=x.csv"]}
"""Required options of a data set, if not only the root."""


def chosen(group: str, name: str) -> DictConfig:
    config = compose(
        [f"{group}={name}", *(MANDATORY.get(name, ["data.root=."]) if group in ("data", "experiment") else [])]
    )
    settle(config)
    return config


def nodes(group: str, name: str) -> list[tuple[str, DictConfig]]:
    node = chosen(group, name)[group]
    if group in ("callbacks", "logger", "metrics"):
        return [(f"{group}.{key}", child) for key, child in node.items()]
    if group == "augment":
        return [(f"augment.{kind}.{key}", child) for kind, entries in node.items() for key, child in entries.items()]
    return [(group, node)] if node._target_ is not None else []


@pytest.mark.parametrize(("group", "name"), TARGETED, ids=str)
def test_the_yaml_and_the_constructor_agree(group: str, name: str) -> None:
    for where, node in nodes(group, name):
        target, arguments = split_node(node, where=where)
        cls = resolve(target, object, where=where)
        supplied = dict.fromkeys(SUPPLIED[group])
        if group == "scheduler":
            arguments = {name: value for name, value in arguments.items() if name not in LIGHTNING_KEYS}
        if group == "optimizer":
            arguments = {name: value for name, value in arguments.items() if name not in WEIGHT_DECAYS}
        if group == "loss":
            arguments = {name: value for name, value in arguments.items() if name not in PROGRAM_KEYS}
        if group == "model" and not takes(cls, KEY):
            assert arguments.pop(KEY) is None
        if group == "metrics" and not takes(cls, "average"):
            assert arguments.pop("average", None) in PER_CLASS
        check_arguments(cls, arguments, supplied, where=where)
        library = LEFT_OUT.get(library_of(where) or "", set()) if not target.startswith("audio_lightning.") else set()
        unnamed = accepted(cls)[0].keys() - {*arguments, *supplied} - library - NOT_OFFERED.get(target, set())
        assert not unnamed, (
            f"options that no YAML names cannot be found or checked: name them in conf/{group}/{name}.yaml"
        )


@pytest.mark.parametrize(("group", "name"), TARGETED, ids=str)
def test_numbers_that_may_have_a_fraction_are_written_with_one(group: str, name: str) -> None:
    """An integer default would refuse fractions on the command line."""
    for where, node in nodes(group, name):
        target, arguments = split_node(node, where=where)
        hints = accepted(resolve(target, object, where=where))[1]
        for key, value in arguments.items():
            if float in (hints.get(key), *get_args(hints.get(key))):
                assert isinstance(value, float | None | list) or value == AUTO, f"{where}.{key}: {value}"


@pytest.mark.parametrize("name", choices("trainer"))
def test_the_trainer_yaml_has_every_argument_of_the_trainer(name: str) -> None:
    import lightning.pytorch as pl

    expected = set(inspect.signature(pl.Trainer).parameters) - TRAINER_SUPPLIED - set(TRAINER_LEFT_OUT)
    assert set(compose([f"trainer={name}"]).trainer) == expected | {"_target_"}


def test_yaml_words_are_not_loaded_as_booleans() -> None:
    word = re.compile(r"(?<![\w'\"])(yes|no|on|off)(?![\w'\"])", re.IGNORECASE)
    assert not [
        f"{path}:{number}"
        for path in config_dir().rglob("*.yaml")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word.search(line.partition("#")[0])
    ]


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=str)
def test_every_choice_resolves(group: str, name: str) -> None:
    if group == "hydra":
        return
    OmegaConf.to_container(chosen(group, name), resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("name", choices("augment"))
def test_every_augmentation_passes_the_check(name: str, tmp_path: Path) -> None:
    check_config(compose([f"augment={name}", f"data.root={tmp_path}"]))
