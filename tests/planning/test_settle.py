"""Replacement of ``auto`` by values; given values are kept."""

from pathlib import Path

import pytest
import tiny
from omegaconf import DictConfig, OmegaConf

from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.config.automatic import AUTOMATIC, automatic_keys, take_settled
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.planning.settle import build_data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("folder"))


def composed(root: Path, *overrides: str) -> DictConfig:
    config = compose(quote_paths(["data=folder", f"data.root={root}", *overrides]))
    check_config(config)
    return config


def test_a_folder_says_how_its_clips_are_cut(root: Path) -> None:
    config = composed(root)
    assert automatic_keys(config) == ["data.sample_rate", "data.clip_seconds", "data.hop_seconds", "data.padding"]
    datamodule, choices = build_data(config)
    assert automatic_keys(config) == []
    assert list(choices) == ["data.sample_rate", "data.clip_seconds", "data.hop_seconds", "data.padding"]
    assert config.data.sample_rate == datamodule.sample_rate == tiny.RATE
    assert config.data.clip_seconds == 0.25
    assert config.data.hop_seconds is None


def test_the_recipe_settles_all_keys(root: Path) -> None:
    config = composed(root, "experiment=auto")
    assert automatic_keys(config) == list(AUTOMATIC)
    datamodule, choices = build_data(config)
    assert tuple(choices) == AUTOMATIC
    assert automatic_keys(config) == []
    assert datamodule.batch_size == datamodule.loading.batch_size == config.data.batch_size == 16
    assert datamodule.loading.sampling == config.data.sampling == "uniform"
    assert config.trainer.max_epochs == 150


def test_given_values_are_kept_and_used_by_later_rules(root: Path) -> None:
    config = composed(root, "experiment=auto", "data.batch_size=2", "data.clip_seconds=2", "trainer.max_epochs=auto")
    build_data(config)
    assert (config.data.batch_size, config.data.clip_seconds, config.feature.hop_seconds) == (2, 2, 0.016)
    assert composed(root, "experiment=auto", "trainer.max_epochs=3").trainer.max_epochs == 3


def test_every_data_source_supports_auto(tiny_urbansound8k: Path) -> None:
    lines = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", "data.sample_rate=auto", "data.clip_seconds=auto"]
    config = compose(quote_paths(lines))
    check_config(config)
    build_data(config)
    assert (config.data.sample_rate, config.data.clip_seconds) == (tiny.RATE, 0.25)


def test_windows_given_in_samples_follow_the_settled_rate(root: Path) -> None:
    config = composed(root)
    OmegaConf.update(config, "feature.window_seconds", "${samples:200}")
    assert config.feature.window_seconds == pytest.approx(200 / 22050)
    build_data(config)
    assert config.feature.window_seconds == pytest.approx(200 / tiny.RATE)


@pytest.mark.parametrize("line", ["data.channel=auto", "optimizer.lr=auto", "data.num_workers=auto", "seed=auto"])
def test_other_keys_do_not_support_auto(root: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=line.partition("=")[0]):
        build_data(composed(root, line))


def test_a_folder_without_recordings_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="no recording can be used"):
        build_data(composed(tmp_path))


def test_a_resumed_run_keeps_settled_values(root: Path) -> None:
    saved, config = composed(root, "experiment=auto"), composed(root, "experiment=auto", "data.batch_size=4")
    build_data(saved)
    take_settled(config, saved)
    assert automatic_keys(config) == []
    assert (config.data.clip_seconds, config.data.batch_size) == (0.25, 4)


@pytest.mark.parametrize(
    ("lines", "rate"),
    [
        (["experiment=frozen", "feature.backbone=speech_embedding"], 16_000),
        (["experiment=frozen", "feature.backbone=speech_embedding", "data.sample_rate=8000"], 8_000),
        (["experiment=frozen"], tiny.RATE),
    ],
)
def test_a_pretrained_network_may_require_its_sample_rate(lines: list[str], rate: int, root: Path) -> None:
    config = composed(root, *lines)
    datamodule, choices = build_data(config)
    assert config.data.sample_rate == datamodule.sample_rate == rate
    if rate == 16_000:
        assert choices["data.sample_rate"] == (16_000, "speech_embedding requires 16,000 Hz")
