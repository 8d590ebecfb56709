"""Properties of single architectures beyond the contract of all models."""

import subprocess
import sys
from itertools import pairwise

import pytest
from torch import nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models import IncompatibleInput
from audio_lightning.models.cnn import CNN
from audio_lightning.models.dnn import DNN
from audio_lightning.models.vision import ResNet

PICTURE = FeatureShape("spectrogram", (1, 64, 401))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("hidden", "embedding_dim"), [([5], 5), ([7, 5, 4], 4), ([], 40)])
def test_dnn_has_the_configured_layers(hidden: list[int], embedding_dim: int) -> None:
    made = DNN(FeatureShape("waveform", (2, 20)), 3, hidden_dims=hidden)

    widths = [40, *hidden, 3]
    assert [layer.weight.shape for layer in made.modules() if isinstance(layer, nn.Linear)] == [
        (outputs, inputs) for inputs, outputs in pairwise(widths)
    ]
    assert made.embedding_dim == embedding_dim


def test_cnn_has_the_configured_blocks() -> None:
    made = CNN(PICTURE, 10, channels=[4, 8], hidden_dim=16, batch_norm=False)

    # Biases where no batch normalization makes up for them; 64 x 401 is halved twice.
    convolutions = (9 * 1 * 4 + 4) + (9 * 4 * 8 + 8)
    assert count(made) == convolutions + (8 * 16 * 100 * 16 + 16) + (16 * 10 + 10)
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in made.modules()) == 2

    normalized = CNN(PICTURE, 10, channels=[4, 8], hidden_dim=16)
    assert count(normalized) == count(made) + 4 + 8, "a scale and a shift in place of each bias"


@pytest.mark.parametrize(
    ("model", "shape", "least", "message"),
    [
        (
            DNN,
            PICTURE,
            None,
            "dnn takes a waveform, and the feature gives a spectrogram; "
            "choose feature=waveform or a model for spectrograms",
        ),
        (
            ResNet,
            FeatureShape("waveform", (1, 8000)),
            None,
            "resnet takes a spectrogram, and the feature gives a waveform; "
            "choose feature=logmel or a model for waveforms",
        ),
        (
            CNN,
            FeatureShape("spectrogram", (1, 64, 7)),
            (8, 8),
            "cnn needs at least 8 frames, and the feature gives a spectrogram [1, 64, 7]; "
            "use a shorter hop or longer clips",
        ),
        (
            CNN,
            FeatureShape("spectrogram", (1, 4, 401)),
            (8, 8),
            "cnn needs at least 8 bins, and the feature gives a spectrogram [1, 4, 401]; use a feature with more bins",
        ),
    ],
    ids=str,
)
def test_impossible_combinations_raise_an_error_with_the_reason(
    model: type, shape: FeatureShape, least: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(IncompatibleInput) as raised:
        model(shape, 10)

    assert str(raised.value) == message
    assert raised.value.least == least


def test_a_model_imports_no_library_of_other_models() -> None:
    script = (
        "import sys; from audio_lightning.features.waveform import Waveform\n"
        "from audio_lightning.models.cnn import CNN; from audio_lightning.models.dnn import DNN\n"
        "print(*{'torchvision', 'torchaudio', 'lightning'} & sys.modules.keys())"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []
