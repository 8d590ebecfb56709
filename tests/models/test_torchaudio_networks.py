"""Functions that need torchaudio, and functions that work if it cannot be imported."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import torch

from audio_lightning.models.torchaudio_networks import load_package

SMALL = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 2)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16, "encoder_projection_dropout": 0.0, "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 2, "encoder_num_layers": 2, "encoder_num_heads": 2, "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 32, "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False, "encoder_layer_drop": 0.0, "aux_num_out": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [("wav2vec2_model", {}), ("wavlm_model", {"encoder_num_buckets": 8, "encoder_max_distance": 16})],
)
def test_networks_loaded_from_source_files_are_equal(
    name: str, options: dict[str, int], torchaudio: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(torchaudio.models.wav2vec2.__file__).parent
    monkeypatch.setitem(sys.modules, "from_sources", None)  # removed after the test
    networks = load_package("from_sources", folder)
    made = []
    for module in (torchaudio.models, networks):
        torch.manual_seed(0)
        made.append(getattr(module, name)(**SMALL, **options).eval())

    assert type(made[1]).__module__ == "from_sources.model"
    assert list(made[0].state_dict()) == list(made[1].state_dict())
    x = torch.randn(2, 400)
    torch.testing.assert_close(made[1](x)[0], made[0](x)[0])


BESIDE_ANOTHER_TORCH = """
import sys

sys.modules["torchaudio._extension"] = None  # to import it is an ImportError
import torch

import audio_lightning.sweeps.executors.preload  # all that trainings and sweeps import
from audio_lightning.core.errors import ConfigError
from audio_lightning.features.fbank import FBank
from audio_lightning.features.lfcc import LFCC
from audio_lightning.features.mfcc import MFCC
from audio_lightning.models.wav2vec2 import Wav2Vec2
from audio_lightning.core.task import FeatureShape
from audio_lightning.core.environment import environment

assert "torchaudio" not in sys.modules
clip = {"sample_rate": 16000, "num_samples": 16000, "normalize": "none"}
for front_end in (MFCC, LFCC, FBank):
    assert front_end(**clip)(torch.randn(2, 16000)).isfinite().all()
for family in ("wav2vec2", "wavlm"):
    network = Wav2Vec2(FeatureShape("waveform", (1, 16000)), 3, family=family)
    assert network(torch.randn(2, 1, 16000)).shape == (2, 3)
print(environment()["packages"]["torchaudio"])
try:
    Wav2Vec2(FeatureShape("waveform", (1, 16000)), 3, pretrained="torchaudio:WAV2VEC2_BASE")
except ConfigError as error:
    print(error)
"""


def test_only_pipelines_and_resampling_need_an_importable_torchaudio() -> None:
    ran = subprocess.run([sys.executable, "-c", BESIDE_ANOTHER_TORCH], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    installed, message = ran.stdout.splitlines()
    assert installed == version("torchaudio")
    assert message == (
        f"model.pretrained=torchaudio:WAV2VEC2_BASE: torchaudio {installed} cannot be imported with torch "
        f"{version('torch')} (import of torchaudio._extension halted; None in sys.modules); install versions of both "
        "that fit, or name a network of the Hugging Face hub, such as facebook/wav2vec2-base"
    )
