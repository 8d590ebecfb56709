"""Overrides: composition, and messages about mistakes."""

import os
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from audio_lightning.config import change, check_config, compose, expand_multirun, quote_paths
from audio_lightning.config.compose import search_path
from audio_lightning.core.errors import ConfigError

MISTAKES = {
    "modle=resnet": "there is no key modle; did you mean model?",
    "model=resnt": "model=resnt: there is no such model; did you mean resnet?",
    "model=gizmo9": "model=gizmo9: there is no such model (choices: alexnet, ",
    "logger=[csv,tensorbord]": "logger=tensorbord: there is no such logger; did you mean tensorboard?",
    "trainer.max_epoch=3": "there is no key trainer.max_epoch; did you mean trainer.max_epochs?",
    "+trainer.max_epoch=3": "there is no key trainer.max_epoch; did you mean trainer.max_epochs?",
    "++trainer.max_epoch=3": "there is no key trainer.max_epoch; did you mean trainer.max_epochs?",
    "+nonsense=3": "there is no key nonsense",
    "hydra.run.dri=x": "there is no key hydra.run.dri; did you mean hydra.run.dir?",
    "seed.value=3": "there is no key seed.value: seed is a single value",
    "optimizer.zzz=3": "there is no key optimizer.zzz (optimizer has: amsgrad, betas, ",
    "trainer.max_epochs=-1": "trainer.max_epochs=-1: must be at least 1; -1 (no limit) is possible with scheduler=none",
    "trainer.max_epochs=-3": "trainer.max_epochs=-3: must be at least 1",
    "trainer.max_epochs=0": "trainer.max_epochs=0: must be at least 1",
    "trainer.max_epochs=ten": "trainer.max_epochs=ten: expected a whole number, the default is 20",
    "trainer.max_epochs=1.5": "trainer.max_epochs=1.5: expected a whole number",
    "optimizer.lr=high": "optimizer.lr=high: expected a number",
    "optimizer.betas=0.9": "optimizer.betas=0.9: expected a list",
    "channels_last=1": "channels_last=1: expected true or false",
    "optimizer={lr: 3}": "there is no such optimizer",
    "~model": "~model: a training needs a model",
    "model=null": "model=null: expected a choice; choices: alexnet, ",
    "logger=null": "logger=null: expected a choice; choices: csv, mlflow, none, ",
    "callbacks=[]": "callbacks=[]: expected a choice; choices: ",
    "feature=[mfcc,mel]": "a training has one feature; to train each in turn, use -m feature=mfcc,mel or ",
    "monitor=validation/acuracy": "this metric is not logged; did you mean validation/accuracy?",
    "data=urbansound8k": "data.root must be given",
    "model._target_=os.system": "model._target_=os.system is not allowed",
    "resnet": "cannot read the override 'resnet'",
    "data.root": "cannot read the override 'data.root'",
    "loss.class_weights=a(b": "put the value in quotes",
}


def composed(*arguments: str):
    config = compose(quote_paths(arguments))
    check_config(config)
    return config


@pytest.mark.parametrize(("override", "message"), MISTAKES.items(), ids=MISTAKES)
def test_mistake_is_reported_in_one_line_with_a_suggestion(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        composed(override)
    assert "\n" not in str(caught.value)


def test_probe_selects_its_feature_and_names_its_network() -> None:
    assert composed("model=probe", "model.backbone=beats").feature.backbone == "beats"
    assert composed("experiment=frozen", "feature.backbone=cnn10").feature.backbone == "cnn10"
    assert composed("experiment=frozen", "model=linear").feature.backbone == "aisfx"
    assert composed("model=probe", "model.backbone=beats", "feature.backbone=beats").model.backbone == "beats"
    with pytest.raises(ConfigError, match=r"^feature\.backbone=beats and model\.backbone=aisfx: "):
        composed("model=probe", "model.backbone=aisfx", "feature.backbone=beats")


@pytest.mark.parametrize(("typed", "value"), [("1.0", 1.0), ("0.5", 0.5), ("3", 3)])
def test_numbers_of_batches_may_be_shares(typed: str, value: float) -> None:
    """Lightning takes 1 as one batch, and 1.0 as all batches; the defaults of debug=tiny are whole numbers."""
    found = composed("debug=tiny", f"trainer.limit_train_batches={typed}").trainer.limit_train_batches
    assert (found, type(found)) == (value, type(value))
    with pytest.raises(ConfigError, match=r"limit_train_batches=all: expected a whole number of batches, or a fract"):
        composed("debug=tiny", "trainer.limit_train_batches=all")


@pytest.mark.parametrize("share", ["", True, [0.2]])
def test_invalid_fraction_in_a_file_is_refused(share: object) -> None:
    config = composed()
    OmegaConf.update(config, "data.validation_fraction", share)
    with pytest.raises(ConfigError, match=r"^data\.validation_fraction=.*: expected a fraction"):
        check_config(config)


def test_a_monitor_typed_for_one_callback_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.early_stopping\.monitor=loss: this metric is not logged"):
        composed("callbacks=early_stopping", "callbacks.early_stopping.monitor=loss")


def test_missing_folder_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    with pytest.raises(ConfigError, match=r"no such folder; .* contains no soundz; did you mean sounds\?"):
        composed("data=urbansound8k", f"data.root={tmp_path}/soundz/deeper")


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "with space",
        "a=b",
        "(1)",
        "ö",
        "a,b",
        "it's",
        'quo"te',
        "back\\slash",
        "back\\",
        "[x]",
        "{y}",
        "a:b",
        "#1",
    ],
)
def test_paths_are_taken_literally(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    config = composed("data=urbansound8k", f"data.root={tmp_path / name}")
    assert config.data.root == str(tmp_path / name)


def test_quoted_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x y").mkdir()
    for typed in ("data.root=~/x y", "data.root='~/x y'", 'data.root="~/x y"'):
        assert composed("data=urbansound8k", typed).data.root == f"{tmp_path}/x y"


def test_a_path_may_be_null() -> None:
    assert composed("data.root=null").data.root is None


def test_commas_in_paths_separate_an_axis_unless_the_path_exists(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert quote_paths([f"data.root={tmp_path}/a,b"], multirun=True) == [f"data.root='{tmp_path}/a,b'"]
    assert quote_paths(["data.root=x,y"], multirun=True) == ["data.root='x','y'"]


@pytest.mark.parametrize("group", ["experiment", "debug"])
def test_null_is_no_choice(group: str) -> None:
    assert compose([f"{group}=null", "seed=1"]) == compose(["seed=1"])
    assert search_path([f"{group}=null", "seed=1"]) == ["seed=1"]


def test_several_loggers_at_once() -> None:
    assert set(composed("logger=[csv,tensorboard]").logger) == {"csv", "tensorboard"}
    assert set(composed("logger=none").logger) == set()


def test_an_entry_can_be_added_where_entries_are_open() -> None:
    target = "audio_lightning.training.callbacks.EarlyStopping"
    config = composed(f"+callbacks.mine._target_={target}", "+callbacks.mine.monitor=validation/loss")
    assert config.callbacks.mine.monitor == "validation/loss"


def test_the_monitor_is_one_key() -> None:
    config = composed("monitor=validation/loss", "callbacks=early_stopping", "scheduler=plateau")
    monitors = {config.callbacks.best.monitor, config.callbacks.early_stopping.monitor, config.scheduler.monitor}
    assert monitors == {"validation/loss"}


def test_multirun_is_expanded_in_hydras_order() -> None:
    jobs = expand_multirun(["model=cnn,resnet", "seed=range(0,2)"])
    assert jobs == [[f"model={model}", f"seed={seed}"] for model in ("cnn", "resnet") for seed in (0, 1)]


def test_change_checks_keys_and_leaves_the_original_alone() -> None:
    config = compose([])
    assert change(config, ["data.test_fold=3"]).data.test_fold == 3
    assert config.data.test_fold is None
    with pytest.raises(ConfigError, match=r"did you mean data\.test_fold\?"):
        change(config, ["data.test_fld=3"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("label_separator", ";"),
        ("label_separator", ","),
        ("label_column", "my label (2)"),
        ("table", "~clips=1.csv"),
        ("group_column", "null"),
    ],
)
def test_columns_and_separators_are_taken_literally(tmp_path: Path, key: str, value: str) -> None:
    settings = ["data=table", f"data.root={tmp_path}", "data.table=x.csv", f"data.{key}={value}"]
    assert composed(*settings).data[key] == (None if value == "null" else value)


def test_patterns_are_taken_literally(tmp_path: Path) -> None:
    pattern = r"^(?P<group>[^_]+_\w{1,2})_"
    config = composed("data=folder", f"data.root={tmp_path}", f"data.group_pattern={pattern}")
    assert config.data.group_pattern == pattern


def test_columns_can_be_an_axis() -> None:
    assert quote_paths(["data.label_column=a,b"], multirun=True) == ["data.label_column='a','b'"]
    assert quote_paths(["data.label_separator=,"], multirun=True) == ["data.label_separator=','"]


@pytest.mark.parametrize(("typed", "value"), [("true", True), ("null", None), ("~/w (1)=ö.pt", "~/w (1)=ö.pt")])
def test_weights_are_a_switch_or_a_file(typed: str, value: object) -> None:
    found = composed("model=alexnet", f"model.pretrained={typed}").model.pretrained
    assert found == (os.path.expanduser(value) if isinstance(value, str) else value)


@pytest.mark.parametrize("line", ["data.batch_size=1,2", "data.batch_size=choice(1,2)", "~data.batch_size"])
def test_a_change_takes_one_value(line: str) -> None:
    with pytest.raises(ConfigError, match="expected one value") as caught:
        change(compose([]), [line])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["data.num_workers", "seed", "trainer.max_epochs", "feature_memory_gb", "plots"])
def test_text_from_the_environment_is_not_a_number(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANY", "many")
    line = f"{key}=${{oc.env:MANY}}"
    for composed in (lambda: compose([line]), lambda: change(compose([]), [line])):
        with pytest.raises(ConfigError, match=re.escape(f"{line}: resolves to text, expected")) as caught:
            composed()
        assert "\n" not in str(caught.value)


def test_number_from_the_environment_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANY", "3")
    assert compose(["data.num_workers='${oc.decode:${oc.env:MANY}}'"]).data.num_workers == 3


@pytest.mark.parametrize("value", ["~nobody_at_all/x", "x" * 300, "a/\0", "[1,2]"])
def test_impossible_path_is_reported_in_one_line(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(compose(quote_paths(["data=folder", f"data.root={value}"])))
    assert "\n" not in str(caught.value)


def test_overrides_of_a_resumed_run_are_parsed_like_others(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from audio_lightning.cli.train import main

    for line in ("trainer.max_epochs=[(", "trainer.max_epochs=1,2", "=", "trainer.max_epochs=${"):
        assert main([f"resume={trained}", line]) == 2
        assert capsys.readouterr().err.count("\n") == 1
