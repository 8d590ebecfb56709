"""Licences in the metadata of exported models."""

from pathlib import Path

import pytest
from untrained import CNN, write_member

from audio_lightning.classifier.checkpoint import read_contents, write_checkpoint
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.inference.export.export import describe
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.onnx_metadata import OnnxMetadata


@pytest.mark.parametrize("ensemble", [False, True])
def test_licences_are_in_the_metadata(tmp_path: Path, ensemble: bool) -> None:
    """Also those of the weights that a training started from, although a loaded checkpoint does not need them."""
    network = tmp_path / "network"
    network.mkdir()
    (network / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    contents = read_contents(write_member(tmp_path / "m.ckpt", *CNN, "card.license=cc-by-nc-4.0"))
    contents["hyper_parameters"]["config"]["model"]["pretrained"] = str(network)
    write_checkpoint(tmp_path / "m.ckpt", contents)
    if ensemble:
        write_ensemble(tmp_path / "e.ckpt", [tmp_path / "m.ckpt"] * 2, [1, 1])
    classifier = load_classifier(tmp_path / ("e.ckpt" if ensemble else "m.ckpt"))
    licences = ("model: cc-by-nc-4.0", "weights of network: cc-by-nc-4.0")
    assert describe(classifier).licence == licences
    properties = describe(classifier).to_properties()
    assert OnnxMetadata.from_properties(properties, "m.onnx").licence == licences
