"""Recipes with other data and other choices than their own."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny_sources
import yaml
from choices import with_usual_values
from omegaconf import DictConfig, OmegaConf

from audio_lightning.classifier.factory import check_networks
from audio_lightning.config import UnknownKey, check_config, choices, compose, quote_paths
from audio_lightning.config.compose import deletions
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.run import train

RECIPES, SOURCES = choices("experiment"), choices("data")
GIVEN: Mapping[str, list[str]] = {"demo": [], "table": ["data.root=.", "data.table=clips.csv"]}
"""Required options of a source, if not only the root."""

TOO_SHORT = {("urbansound8k_alexnet", "instruments")}
"""Recipes whose network needs longer clips than the source's, which is an error before any audio is read."""

REFUSED = r"alexnet needs at least 63 frames.*such as .*data\.clip_seconds=0\.62$"


@pytest.fixture(autouse=True)
def _say_again() -> None:
    sys.modules[compose.__module__]._say.cache_clear()


def on(recipe: str, source: str, *overrides: str) -> DictConfig:
    return compose(
        quote_paths([f"experiment={recipe}", f"data={source}", *GIVEN.get(source, ["data.root=."]), *overrides])
    )


def pairs() -> list:
    """Every recipe with every source; all take a minute, so the fast suite has each at least once."""
    quick = {(recipe, "folder") for recipe in RECIPES} | {("best_speech", source) for source in SOURCES} | TOO_SHORT
    return [
        pytest.param(recipe, source, marks=() if (recipe, source) in quick else pytest.mark.full)
        for recipe in RECIPES
        for source in SOURCES
    ]


NEED_LONGER = ("urbansound8k_alexnet", "urbansound8k_densenet", "urbansound8k_vgg")
"""Recipes whose network needs more frames than there are in a quarter of a second."""


@pytest.mark.parametrize(("recipe", "source"), pairs())
def test_a_recipe_fits_every_source(recipe: str, source: str) -> None:
    config = on(recipe, source)
    check_config(config)
    with_usual_values(config)
    alone = compose(quote_paths([f"data={source}", *GIVEN.get(source, ["data.root=."])]))
    assert config.data._target_ == alone.data._target_
    assert set(config.data) == set(alone.data)
    data = config.data
    task = AudioTask(("a", "b", "c"), data.sample_rate, round(data.clip_seconds * data.sample_rate), data.padding)
    if (recipe, source) in TOO_SHORT:
        with pytest.raises(ConfigError, match=REFUSED):
            check_networks(config, task)
    else:
        check_networks(config, task)


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=() if name == "best_speech" else pytest.mark.full) for name in RECIPES],
)
def test_a_recipe_trains_on_a_folder_of_classes(recipe: str, tmp_path: Path) -> None:
    root = tiny_sources.write("folder", tmp_path / "data")
    longer = ["data.clip_seconds=1"] if recipe in NEED_LONGER else []  # longer than auto, from these recordings
    config = on(recipe, "folder", f"data.root={root}", "debug=tiny", "trainer=cpu", *longer)
    check_config(config)
    assert train(config, RunFolder(tmp_path / "run"))["epochs"] == 1


@pytest.mark.full
@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.startswith(("best", "speech10", "ast"))])
def test_recipe_trains_on_multilabel_data(recipe: str, tmp_path: Path) -> None:
    root = tiny_sources.write("table", tmp_path / "data")
    config = on(recipe, "table", f"data.root={root}", "data.label_separator=';'", "debug=tiny", "trainer=cpu")
    check_config(config)
    if config.data.sampling == "balanced":
        with pytest.raises(ConfigError, match=r"^data\.sampling=balanced: needs one label per clip, .*; use uniform$"):
            train(config, RunFolder(tmp_path / "run"))
        config.data.sampling = "uniform"
    assert train(config, RunFolder(tmp_path / "again"))["epochs"] == 1


@pytest.mark.parametrize(
    ("typed", "key", "expected", "note"),
    [
        (["experiment=best_speech", "data=folder"], "data", None,
         "experiment=best_speech sets data.words, which data=folder does not have; left out"),
        (["experiment=speech10_conv1d_sgd", "data=folder"], "data", None,
         "experiment=speech10_conv1d_sgd sets data.task, data.words, which data=folder does not have; left out"),
        (["experiment=instruments_cnn_mel", "model=lstm"], "model", None,
         "experiment=instruments_cnn_mel sets model.channels, model.strides, model.padding, model.batch_norm, "
         "model.negative_slope, model.pooled, which model=lstm does not have; left out"),
        (["experiment=speech12_conv1d", "callbacks=ema"], "callbacks.early_stopping", None,
         "experiment=speech12_conv1d sets callbacks.early_stopping, which callbacks=ema does not have; left out"),
        (["experiment=ast", "augment=light"], "augment.pairs.mixup.p", 0.6, None),
        (["experiment=sincnet", "data=folder", "~data.task"], "data", None, None),
        (["experiment=sincnet"], "data.task", 12, None),
        (["experiment=sincnet", "data=speech_commands", "data.task=35"], "data.task", 35, None),
    ],
)  # fmt: skip
def test_recipe_keys_that_the_choice_lacks_are_dropped_with_a_note(
    typed: list[str], key: str, expected: object, note: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        config = compose([*typed, "data.root=."])
        check_config(config)
    found = OmegaConf.select(config, key)
    if expected is not None or "." in key:
        assert found == expected
    else:
        (choice,) = [line for line in typed if line.startswith(f"{key}=")]
        alone = compose([choice, "data.root=.", *(["data=folder"] if key != "data" else [])])
        assert set(found) == set(alone[key])
    assert capsys.readouterr().err == (f"note: {note}\n" if note else "")


@pytest.mark.parametrize("typed", [[], ["~data.task"]])
def test_hydra_composes_without_the_dropped_keys(typed: list[str]) -> None:
    """As with ``--cfg job``, which prints the configuration."""
    words = ["experiment=speech10_conv1d_sgd", "data=folder", "data.root=.", *typed]
    assert deletions(words) == [key for key in ("~data.task", "~data.words") if key not in typed]
    assert deletions(["experiment=speech10_conv1d_sgd", "data.root=."]) == []


def test_typed_key_that_the_source_lacks_is_an_error() -> None:
    with pytest.raises(UnknownKey, match=r"data\.task with data=folder; it needs data=speech_commands"):
        compose(["experiment=sincnet", "data=folder", "data.root=.", "data.task=12"])


def test_misspelled_key_in_a_recipe_is_an_error(tmp_path: Path) -> None:
    """Keys of a recipe are dropped only if another choice is typed."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nmodel:\n  chanels: [4]\n")
    config = compose([f"hydra.searchpath=['{tmp_path}']", "experiment=mine"])
    assert config.model.chanels == [4]


def test_arguments_of_user_classes_are_kept(tmp_path: Path) -> None:
    """The user's own YAML need not name all arguments of its class."""
    (tmp_path / "data").mkdir()
    mine = {"_target_": "audio_lightning.data.sources.folder.Folder", "root": ".", "sample_rate": 8000}
    (tmp_path / "data/mine.yaml").write_text(yaml.safe_dump(mine))
    config = compose([f"hydra.searchpath=['{tmp_path}']", "experiment=best_speech", "data=mine"])
    assert config.data.batch_size == 32
    assert config.data.sample_rate == 16000
    assert "words" not in config.data
