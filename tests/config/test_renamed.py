"""Names of earlier versions: read from saved files, and refused with the new names on the command line."""

import inspect
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from running import resume

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import check_networks
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.config import choices, compose
from audio_lightning.config.renamed import ADDED, ARGUMENTS, CHOICES, KEYS, METRICS, TARGETS, upgrade
from audio_lightning.config.targets import check_arguments, resolve, split_node
from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import read_json
from audio_lightning.core.task import AudioTask
from audio_lightning.run_folder import SHOWN, RunFolder

SAVED = Path(__file__).with_name("saved_by_1be737e.zip")
"""A run with ``scheduler=plateau``, a sweep over four schedules, and the recordings of both, as 1be737e wrote them."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    with zipfile.ZipFile(SAVED) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["run", "sweep/trials/0001-d3eec780"])
def test_a_run_of_an_earlier_version_is_resumed(saved: Path, name: str) -> None:
    folder = saved / name
    longer = ["trainer.max_epochs=3"] if name == "run" else []  # the length of one cycle cannot change
    (folder / "metrics.json").unlink()
    metrics = resume(folder, f"data.root={saved / 'sounds'}", *longer)
    assert metrics["epochs"] == 2 + len(longer)
    scheduler = yaml.safe_load((folder / "config.yaml").read_text())["scheduler"]
    assert scheduler["_target_"].startswith("torch.optim.lr_scheduler.")


def test_a_checkpoint_of_an_earlier_version_loads(saved: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(saved / "run/checkpoints/best.ckpt")
    assert classifier.config["scheduler"]["_target_"] == "torch.optim.lr_scheduler.ReduceLROnPlateau"
    assert classifier.config["scheduler"]["min_lr"] == 0.001


def test_a_sweep_of_an_earlier_version_is_compared(saved: Path) -> None:
    results = read_results([SweepFolder(saved / "sweep")])
    assert list(results["state"]) == ["done"] * 4
    assert list(results["num_clips/test"]) == [3] * 4
    assert not METRICS.keys() & set(results)
    assert results["config.scheduler.pct_start"].dropna().tolist() == [0.3]
    assert results["config.scheduler.gamma"].dropna().tolist() == [0.85]
    assert results["config.scheduler.warmup_ratio"].dropna().tolist() == [0.1]


def test_metrics_of_an_earlier_version_get_current_names(saved: Path) -> None:
    folder = RunFolder(saved / "run")
    old = read_json(folder.metrics)
    metrics = folder.read_metrics(SHOWN)  # as printed for a finished run
    assert [metrics[f"num_clips/{split}"] for split in ("train", "validation", "test")] == [3, 3, 3]
    assert metrics == {METRICS.get(name, name): value for name, value in old.items()}
    assert not METRICS.keys() & metrics.keys()


def test_configuration_of_an_earlier_version_is_valid(saved: Path) -> None:
    for path in sorted(saved.glob("sweep/trials/*/config.yaml")):
        config = yaml.safe_load(path.read_text())
        assert upgrade(config)
        assert upgrade(config) == [], "done once"
        check_networks(config, AudioTask(("a", "b"), 8000, 2000))


@pytest.mark.parametrize("target", sorted({*TARGETS, *ARGUMENTS, *ADDED}))
def test_every_new_name_exists(target: str) -> None:
    new = TARGETS.get(target, target)
    with pytest.raises(ConfigError, match=rf"model\._target_={target} has moved; type {new}$"):
        resolve(target, object, where="model")
    cls = resolve(new, object, where="scheduler" if new.startswith("torch.") else "any")
    taken = inspect.signature(cls).parameters
    assert {*ARGUMENTS.get(target, {}).values(), *ADDED.get(target, {})} <= taken.keys()
    assert not ARGUMENTS.get(target, {}).keys() & taken.keys(), "an old name would mean two things"


@pytest.mark.parametrize(("old", "new"), CHOICES.items())
def test_every_new_choice_exists(old: str, new: str) -> None:
    (group, name), (same, now) = old.split("="), new.split("=")
    assert group == same
    assert name not in choices(group)
    assert now in choices(group)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"_target_": "audio_lightning.models.AST", "width": 96, "depth": 2, "heads": 3, "stride": 8}, "ast.AST"),
        ({"_target_": "audio_lightning.models.LSTM", "hidden": 8, "layers": 2, "linear": [4]}, "lstm.LSTM"),
        ({"_target_": "audio_lightning.models.Conv2DVGG", "layers": [2], "hidden": 8}, "conv2d_vgg.Conv2DVGG"),
        ({"_target_": "audio_lightning.models.ResNet", "depth": 50}, "vision.ResNet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_network_of_an_earlier_version_gets_current_arguments(node: dict, expected: str) -> None:
    values = {"model": dict(node)}
    upgrade(values)
    found, arguments = split_node(values["model"], where="model")
    assert found == f"audio_lightning.models.{expected}"
    check_arguments(
        resolve(found, object, where="model"), arguments, {"input_shape": 0, "num_classes": 0}, where="model"
    )
    assert sorted(map(str, arguments.values())) == sorted(
        str(value) for key, value in node.items() if key != "_target_"
    )


def test_moved_keys_keep_their_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEYS, "loss.smoothing", "loss.label_smoothing")
    values = {"find_lr": True, "max_batch_size": 8, "loss": {"smoothing": 0.1}, "parts": [{"_target_": ["no name"]}]}
    assert upgrade(values) == [
        "find_lr -> tuner.lr_find", "max_batch_size -> tuner.max_batch_size", "loss.smoothing -> loss.label_smoothing",
    ]  # fmt: skip
    assert values == {
        "tuner": {"lr_find": True, "max_batch_size": 8},
        "loss": {"label_smoothing": 0.1},
        "parts": [{"_target_": ["no name"]}],
    }  # fmt: skip
    monkeypatch.setitem(KEYS, "random_number", "seed")
    with pytest.raises(ConfigError, match=r"^random_number: renamed; type seed$"):
        compose(["random_number=1"])


def test_a_value_moves_into_a_node_of_the_same_name() -> None:
    values = {"seed": 0, "ensemble": 4, "ensemble_input": "channel"}
    assert upgrade(values) == ["ensemble -> ensemble.num_members", "ensemble_input -> ensemble.inputs"]
    assert values == {"seed": 0, "ensemble": {"num_members": 4, "inputs": "channel"}}
    assert upgrade(values) == [], "done once"


def test_key_that_became_an_option_is_dropped() -> None:
    values = {"trust": ["my_sounds"], "conf_dir": "/my_conf"}
    assert upgrade(values) == ["trust -> trusted_modules", "conf_dir -> --config-dir"]
    assert values == {"trusted_modules": ["my_sounds"]}


def test_damaged_node_is_left_for_the_file_check(tmp_path: Path) -> None:
    values = {"find_lr": True, "tuner": 3}
    assert upgrade(values) == []
    assert values == {"find_lr": True, "tuner": 3}
    (tmp_path / "config.yaml").write_text("find_lr: true\ntuner: 3\n")
    with pytest.raises(FileError, match=r"is not the configuration of a run: tuner is 3; restore a copy$"):
        RunFolder(tmp_path).read_config()


def test_duplicated_keys_are_merged() -> None:
    values = {"cache": {"dir": "x", "max_gb": 1.0}, "data": {"cache_dir": "/here/x"}}
    upgrade(values)
    assert values == {"data": {"cache_dir": "/here/x", "cache_max_gb": 1.0}}


def test_only_targets_are_renamed() -> None:
    values = {
        "augment": {"waveform": {"gain": {"_target_": "audio_lightning.augment.Gain", "p": 0.5}}},
        "scheduler": {"_target_": None},
        "name": "audio_lightning.models.CNN",
    }
    assert upgrade(values) == ["audio_lightning.augment.Gain -> audio_lightning.augment.gain.Gain"]
    assert values == {
        "augment": {"waveform": {"gain": {"_target_": "audio_lightning.augment.gain.Gain", "p": 0.5}}},
        "scheduler": {"_target_": None},
        "name": "audio_lightning.models.CNN",
    }


def test_classes_within_lists_are_found() -> None:
    part = {"_target_": "audio_lightning.schedulers.Decay", "whole_epochs": 1, "factor": 0.5}
    values = {"scheduler": {"_target_": "torch.optim.lr_scheduler.ChainedScheduler", "schedulers": [part]}}
    assert upgrade(values)[0] == "scheduler.schedulers.0.factor -> scheduler.schedulers.0.gamma"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            ["scheduler=onecycle", "scheduler.rise_fraction=0.2"],
            "scheduler.rise_fraction: renamed; type scheduler.pct_start",
        ),
        (["scheduler=decay", "scheduler.factor=0.5"], "scheduler.factor: renamed; type scheduler.gamma"),
        (["model.hidden=8"], "model.hidden: renamed; type model.hidden_dim"),
        (["model=ast", "model.width=96"], "model.width: renamed; type model.embed_dim"),
        (["model=lstm", "model.linear=[8]"], "model.linear: renamed; type model.mlp_dims"),
        (["room_dir=."], "room_dir: renamed; type rir_dir"),
        (["cache.dir=."], "cache.dir: renamed; type data.cache_dir"),
        (["find_lr=true"], "find_lr: renamed; type tuner.lr_find"),
        (["find_batch_size=true"], "find_batch_size: renamed; type tuner.scale_batch_size"),
        (["max_batch_size=64"], "max_batch_size: renamed; type tuner.max_batch_size"),
        (["ensemble=4"], "ensemble=4: renamed; type ensemble.num_members=4"),
        (["+ensemble=4"], "ensemble=4: renamed; type ensemble.num_members=4"),
        (["ensemble_input=channel"], "ensemble_input: renamed; type ensemble.inputs"),
        (["trust=my_sounds"], "trust: renamed; type trusted_modules"),
        (["augment=words"], "augment=words: renamed; type augment=speech_strong"),
        (["scheduler.warmup_fraction=0.2"], "scheduler.warmup_fraction: renamed; type scheduler.warmup_ratio"),
        (
            ["scheduler.rise_fraction=0.2"],
            "scheduler.rise_fraction: renamed; type scheduler.pct_start (with scheduler=onecycle)",
        ),
        (
            ["scheduler._target_=audio_lightning.schedulers.Plateau"],
            "scheduler._target_=audio_lightning.schedulers.Plateau has moved; type "
            "torch.optim.lr_scheduler.ReduceLROnPlateau",
        ),
        (
            ["scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "scheduler.rise_fraction=0.2"],
            "scheduler.rise_fraction: renamed; type scheduler.pct_start=0.2",
        ),
    ],
)  # fmt: skip
def test_old_name_is_refused_with_the_new_one(typed: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_networks(
            OmegaConf.to_container(compose([*typed, "monitor=train/loss"]), resolve=True),
            AudioTask(("a", "b"), 8000, 8000),
        )
    assert str(caught.value) == message


def test_user_yaml_with_old_names_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys.modules[compose.__module__]._say.cache_clear()
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler/mine.yaml").write_text(
        "_target_: audio_lightning.schedulers.OneCycle\nrise_fraction: 0.1\ninitial_divisor: 10\nfinal_divisor: 10\n"
    )
    config = compose([f"hydra.searchpath=['{tmp_path}']", "scheduler=mine"])
    assert dict(config.scheduler) == {
        "_target_": "torch.optim.lr_scheduler.OneCycleLR", "pct_start": 0.1, "div_factor": 10, "final_div_factor": 10,
        "cycle_momentum": False,
    }  # fmt: skip
    assert "use names of an earlier version: scheduler.rise_fraction -> scheduler.pct_start" in capsys.readouterr().err


def test_user_recipe_with_old_names_is_read(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nensemble: 3\nfind_lr: true\n")
    config = compose([f"hydra.searchpath=['{tmp_path}']", "experiment=mine", "ensemble.inputs=channel"])
    assert config.ensemble == {"num_members": 3, "inputs": "channel"}
    assert config.tuner == {"lr_find": True, "scale_batch_size": False, "max_batch_size": 1024}
