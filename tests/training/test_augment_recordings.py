"""Recordings of an augmentation (noise, impulse responses) in a training."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import run

from audio_lightning.core.errors import ConfigError

ROOM = ["augment=strong", "augment.waveform.recorded.p=1.0", "trainer.max_epochs=1"]


def test_recorded_rooms_come_from_their_folder(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    for number, rate in enumerate((8000, 16000)):
        response = 0.5 * np.exp(-np.arange(rate // 4) / 400)
        soundfile.write(rooms / f"{number}.wav", response, rate)

    assert run(tiny_urbansound8k, tmp_path / "run", *ROOM, f"rir_dir={rooms}")["epochs"] == 1


def test_missing_rooms_are_named(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"room impulse responses, .*; set a folder of them by rir_dir=DIR"):
        run(tiny_urbansound8k, tmp_path / "none", *ROOM)
    with pytest.raises(ConfigError, match=r"rir_dir=.*nowhere: no such folder"):
        run(tiny_urbansound8k, tmp_path / "lost", *ROOM, f"rir_dir={tmp_path}/nowhere")
