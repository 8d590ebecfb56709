"""Size and cost of a network."""

from omegaconf import OmegaConf

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.costs import costs
from audio_lightning.config import compose
from audio_lightning.core.task import AudioTask


def test_the_work_of_recurrent_layers_is_counted() -> None:
    """On a CPU they are one operation, whose products the counter does not see."""
    config = OmegaConf.to_container(compose(["model=lstm", "feature=logmel"]), resolve=True)
    task = AudioTask(("a", "b"), 16_000, 16_000, "zero")
    classifier = AudioClassifier(config, task.to_dict(), [1, 1])
    layers = sum(weight.numel() for name, weight in classifier.network.named_parameters() if "weight_" in name)
    frames = classifier.front_end.output_shape.dims[-1]

    assert costs(classifier)["macs"] >= layers * frames > 0
