"""Old names: upgraded in what earlier versions saved, refused with the new name where they are typed."""

import pytest

from audio_lightning.config import resolve
from audio_lightning.config.renamed import TARGETS, upgrade
from audio_lightning.core.errors import ConfigError


@pytest.mark.parametrize("old", sorted(TARGETS))
def test_an_old_target_names_a_class_that_exists(old: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\._target_={old} has moved: expected {TARGETS[old]}$"):
        resolve(old, object, where="model")
    assert resolve(TARGETS[old], object, where="model").__name__ == old.rpartition(".")[2]


def test_a_saved_configuration_is_upgraded_wherever_a_target_stands() -> None:
    saved = {
        "model": {"_target_": "audio_lightning.models.CNN", "channels": [8, 16]},
        "augment": {"waveform": {"gain": {"_target_": "audio_lightning.augment.Gain", "p": 0.5}}},
        "scheduler": {"_target_": None},
        "name": "audio_lightning.models.CNN",
    }
    assert upgrade(saved) == {
        "model": {"_target_": "audio_lightning.models.cnn.CNN", "channels": [8, 16]},
        "augment": {"waveform": {"gain": {"_target_": "audio_lightning.augment.gain.Gain", "p": 0.5}}},
        "scheduler": {"_target_": None},
        "name": "audio_lightning.models.CNN",
    }
