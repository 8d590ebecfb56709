"""Model cards: what they say of a run, a fit and a checkpoint, and that they say it of hostile ones, too."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from fit_folders import whole_summary, write_fit
from running import run
from untrained import CNN, LSTM, write_member

import audio_lightning as al
from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.core.errors import CheckpointError, FileError
from audio_lightning.data.sources.demo.source import Demo
from audio_lightning.models.pretrained.registry import BACKBONES
from audio_lightning.report.card_contents import card_contents
from audio_lightning.report.model_card import LEAKAGE, model_card, write_model_card


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A run folder with a card, which tests may change."""
    copied = Path(shutil.copytree(trained, tmp_path / "run"))
    write_model_card(copied)
    return copied


def parts(card: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Header, and text of each section by its title."""
    _, header, text = card.split("---\n", 2)
    sections = text.split("\n## ")
    return yaml.safe_load(header), {section.partition("\n")[0]: section.partition("\n")[2] for section in sections[1:]}


def test_trials_of_a_sweep_have_cards(swept: Path) -> None:
    cards = sorted(swept.glob("trials/*/MODEL_CARD.md"))
    assert len(cards) == 2
    header, sections = parts(cards[0].read_text(encoding="utf-8"))
    assert set(sections) == {
        "Results", "Calibration", "Classes", "Data", "Training", "How to use", "Intended use and limits", "Licences",
        "Energy", "Versions",
    }  # fmt: skip
    assert header["library_name"] == "audio-lightning"
    assert header["pipeline_tag"] == "audio-classification"


def test_card_of_a_run_is_not_overwritten(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    words = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=1"]
    al.train(*words, "plots=false", folder=tmp_path / "run")
    card = tmp_path / "run/MODEL_CARD.md"
    edited = card.read_text(encoding="utf-8") + "\nRecorded by us.\n"
    card.write_text(edited, encoding="utf-8")
    al.train(*words, "plots=false", folder=tmp_path / "run")
    assert card.read_text(encoding="utf-8") == edited


def test_figures_are_those_of_the_run(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    header, sections = parts(model_card(trained / "checkpoints/best.ckpt"))
    low, high = (f"{metrics[f'test/accuracy_{end}']:.3f}" for end in ("low", "high"))
    assert f"| accuracy | {metrics['test/accuracy']:.3f} | {low} to {high} |" in sections["Results"]
    assert f"{metrics['num_clips/test']} test clips" in sections["Results"]
    assert f"| {metrics['test/ece']:.3f} | {metrics['test/ece_uncalibrated']:.3f} |" in sections["Calibration"]
    assert f"temperature of {metrics['temperature']:.3f}" in sections["Calibration"]
    assert LEAKAGE[metrics["leakage"]] in sections["Data"]
    (result,) = header["model-index"][0]["results"]
    assert {"type": "accuracy", "value": round(metrics["test/accuracy"], 4), "name": "accuracy"} in result["metrics"]


def test_classes_have_their_number_of_clips(trained: Path) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints/best.ckpt")
    counts = checkpoint["hyper_parameters"]["class_counts"]
    _, sections = parts(model_card(trained / "checkpoints/best.ckpt"))
    for name, count in zip(tiny.CLASSES, counts):
        assert f"| {name} | {count} |" in sections["Classes"]
        assert name in sections["Intended use and limits"]  # it has few clips


def test_header_has_the_format_of_the_hub(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard((folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
    assert card.data.pipeline_tag == "audio-classification"
    metrics = json.loads((folder / "metrics.json").read_text())
    values = {found.metric_type: found.metric_value for found in card.data.eval_results}
    assert values["accuracy"] == round(metrics["test/accuracy"], 4)
    assert all(found.task_type == "audio-classification" for found in card.data.eval_results)


def test_no_absolute_path_is_in_the_card(folder: Path, tiny_urbansound8k: Path) -> None:
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for place in (folder.parent, tiny_urbansound8k.parent, Path.home()):
        assert str(place) not in card
    assert tiny_urbansound8k.name in card


def test_robustness_and_energy_are_shown_if_measured(folder: Path) -> None:
    rows = [
        {"condition": "noise at 10 dB", "metric": "accuracy", "score": 0.5, "low": 0.4, "high": 0.6, "num_clips": 3},
        {"condition": "MP3|64 kbit/s", "metric": "f1_macro", "score": 0.25},
    ]
    (folder / "robustness.json").write_text(json.dumps(rows))
    energy = {"energy_kwh": 0.0125, "emissions_kg": None, "seconds": 60.0, "country": None, "codecarbon": "3.0"}
    (folder / "energy.json").write_text(json.dumps(energy))
    _, sections = parts(write_model_card(folder).read_text(encoding="utf-8"))
    assert "| noise at 10 dB | accuracy | 0.500 | 0.400 to 0.600 |" in sections["Robustness"]
    assert "3 of the test clips, drawn at random." in sections["Robustness"]
    assert "| MP3\\|64 kbit/s | f1 macro | 0.250 |  |" in sections["Robustness"]
    assert "0.0125 kWh in 60 s of training, as codecarbon 3.0 estimates it" in " ".join(sections["Energy"].split())
    (folder / "energy.json").write_text(json.dumps({**energy, "emissions_kg": 0.005, "country": "DEU"}))
    assert "0.005 kg of CO2 equivalent by the mean electricity of DEU" in write_model_card(folder).read_text()


def test_a_run_without_test_clips(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path / "data", clips=4)
    run(root, tmp_path / "run", "data=folder", "data.split=train_only", "data.validation_fraction=0.25")
    header, sections = parts(write_model_card(tmp_path / "run").read_text(encoding="utf-8"))
    assert "model-index" not in header
    assert "also selected the epoch, so the figures are optimistic" in sections["Results"]


def test_multilabel_clips(tmp_path: Path) -> None:
    values = card_contents(write_member(tmp_path / "m.ckpt", *CNN, multilabel=True))
    assert values["task"].multilabel
    text = model_card(tmp_path / "m.ckpt")
    assert "any number of 3 classes" in text
    assert "whose probability reaches their threshold" in text


def test_checkpoint_without_a_folder_has_no_results(tmp_path: Path) -> None:
    header, sections = parts(model_card(write_member(tmp_path / "m.ckpt", *CNN)))
    assert "its accuracy is unknown" in sections["Results"]
    assert "uncalibrated" in sections["Calibration"]
    assert "metrics" not in header
    assert "| audio-lightning |" in sections["Versions"]


@pytest.mark.parametrize(("target", "synthetic"), [(f"{Demo.__module__}.Demo", True), ("their.Demo", False)])
def test_generated_sounds_are_named_beside_the_figures(folder: Path, target: str, synthetic: bool) -> None:
    checkpoint = folder / "checkpoints/best.ckpt"
    contents = read_checkpoint(checkpoint)
    contents["hyper_parameters"]["config"]["data"]["_target_"] = target
    write_checkpoint(checkpoint, contents)
    _, sections = parts(model_card(checkpoint))
    assert ("The sounds are synthetic" in sections["Data"]) == synthetic
    assert ("The sounds are synthetic" in sections["Results"]) == synthetic


def test_fit_has_the_expected_performance(tmp_path: Path) -> None:
    summary = replace(whole_summary(tmp_path / "data"), notes=["/home/user/data/a.wav cannot be read"])
    files = write_fit(tmp_path / "fit", summary)
    members = [write_member(tmp_path / f"{name}.ckpt", *model) for name, model in (("cnn", CNN), ("lstm", LSTM))]
    write_ensemble(files.model, members, [2, 1])
    header, sections = parts(write_model_card(files.path).read_text(encoding="utf-8"))
    assert "| accuracy | 0.780 | 0.710 to 0.840 |" in sections["Results"]
    assert "the interval is over 40 groups" in " ".join(sections["Results"].split())
    (result,) = header["model-index"][0]["results"]
    assert result["dataset"]["split"] == "cross-validation"
    assert "ensemble of 2 networks" in header["model-index"][0]["name"]
    assert "| expected calibration error | 0.031 | 0.094 |" in sections["Calibration"]
    assert "* a.wav cannot be read" in sections["Data"]
    assert "user" not in sections["Data"]
    assert "* 96 parts of 80 recordings in 40 groups; 3 folds tested (" in sections["Data"]
    assert "| class | training clips of one network |" in sections["Classes"]


@pytest.mark.parametrize(
    ("node", "options", "expected"),
    [
        ("feature", {"backbone": "aisfx", "pretrained": True}, f"{BACKBONES['aisfx'].title}: licence CC BY 4.0"),
        ("model", {"backbone": "aisfx", "pretrained": "published"}, f"{BACKBONES['aisfx'].title}: licence CC BY 4.0"),
        ("feature", {"backbone": "aisfx", "pretrained": False}, "Training started from random weights"),
        ("model", {"pretrained": True}, "the published weights of CNN: licence that of their publisher"),
        ("model", {"pretrained": "/home/user/runs/first"}, "first: licence that of the file or the run"),
        ("model", {"pretrained": "facebook/wav2vec2-base"}, "https://huggingface.co/facebook/wav2vec2-base"),
    ],
)
def test_initial_weights_are_named(tmp_path: Path, node: str, options: dict[str, Any], expected: str) -> None:
    contents = read_checkpoint(write_member(tmp_path / "m.ckpt", *CNN))
    contents["hyper_parameters"]["config"][node] |= options
    write_checkpoint(tmp_path / "m.ckpt", contents)
    header, sections = parts(model_card(tmp_path / "m.ckpt"))
    assert expected in sections["Licences"]
    assert "user" not in sections["Licences"]
    bases = [options["pretrained"]] if "facebook" in str(options["pretrained"]) else None
    assert header.get("base_model") == bases


HOSTILE = (
    "<script>alert(1)</script>",
    "a | b",
    "`x` [y](javascript:z)",
    "line\nbreak\n## Results",
    "{{ 7 * 7 }}{% include 'x' %}",
    "---\nlicense: mit",
    "\u202e\ud800",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_class_names_are_escaped(tmp_path: Path, name: str) -> None:
    """Names create no HTML, table cell, section, header or template."""
    plain = write_member(tmp_path / "plain.ckpt", *CNN, classes=("a", "b", "c"))
    odd = write_member(tmp_path / "odd.ckpt", *CNN, classes=("a", name, "c"))
    (header, expected), (_, sections) = (parts(model_card(file)) for file in (plain, odd))
    assert list(sections) == list(expected)
    assert "<script>" not in model_card(odd)
    assert "49" not in sections["Classes"]
    rows = [line for line in sections["Classes"].splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {row.replace("\\|", "").count("|") for row in rows} == {3}
    assert parts(model_card(odd))[0] == header


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '[{"condition": 1}]', '[{"condition": "a", "metric": "b", "score": "x"}]']
)
def test_damaged_robustness_is_one_line(folder: Path, content: str) -> None:
    (folder / "robustness.json").write_text(content)
    with pytest.raises(FileError, match=r"robustness\.json"):
        write_model_card(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"energy_kwh": "x", "seconds": 1, "emissions_kg": 1}'])
def test_damaged_energy_is_one_line(folder: Path, content: str) -> None:
    (folder / "energy.json").write_text(content)
    with pytest.raises(FileError, match=r"energy\.json"):
        write_model_card(folder)


@pytest.mark.parametrize("part", ["task", "config"])
def test_checkpoint_without_a_classifier_is_one_line(tmp_path: Path, part: str) -> None:
    contents = read_checkpoint(write_member(tmp_path / "m.ckpt", *CNN))
    contents["hyper_parameters"][part] = "x"
    write_checkpoint(tmp_path / "m.ckpt", contents)
    with pytest.raises(CheckpointError, match="no description of the task and the data"):
        model_card(tmp_path / "m.ckpt")


@pytest.mark.parametrize("counts", ["x", ["x", "y", "z"], [1, 2], None])
def test_checkpoint_with_invalid_counts_is_one_line(tmp_path: Path, counts: Any) -> None:
    contents = read_checkpoint(write_member(tmp_path / "m.ckpt", *CNN))
    contents["audio_lightning"]["data"] = {"clips_of_classes": counts}
    write_checkpoint(tmp_path / "m.ckpt", contents)
    with pytest.raises(CheckpointError, match="no description of the task and the data"):
        model_card(tmp_path / "m.ckpt")


def stating(checkpoint: Path, *, backbone: str | None = None, **card: str) -> Path:
    """Put a licence, and the name of a published network, into the configuration of a checkpoint."""
    contents = read_checkpoint(checkpoint)
    config = contents["hyper_parameters"]["config"]
    config["card"] = card
    if backbone is not None:
        config["feature"] |= {"backbone": backbone, "pretrained": True}
    write_checkpoint(checkpoint, contents)
    return checkpoint


def network_folder(path: Path, *, card: str = "", config: str = "{}") -> Path:
    """Folder of a network in the layout of the hub, with the files that may state a licence."""
    path.mkdir()
    (path / "README.md").write_text(card)
    (path / "config.json").write_text(config)
    return path


def test_licence_of_the_training_is_in_the_header(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    words = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=1"]
    al.train(*words, "plots=false", "card.license=cc-by-4.0", folder=tmp_path / "run")
    header, sections = parts((tmp_path / "run/MODEL_CARD.md").read_text(encoding="utf-8"))
    assert header["license"] == "cc-by-4.0"
    assert "The licence of this model is cc-by-4.0." in sections["Licences"]


def test_licence_that_the_hub_does_not_list(tmp_path: Path) -> None:
    stated = {"license": "other", "license_name": "a | <b>", "license_link": "https://example.org"}
    header, sections = parts(model_card(stating(write_member(tmp_path / "m.ckpt", *CNN), **stated)))
    assert {key: header[key] for key in stated} == stated
    assert "is a \\| &lt;b&gt; (https://example.org)." in sections["Licences"]


def test_no_licence_is_in_the_header_unless_stated(folder: Path) -> None:
    header, sections = parts(model_card(folder / "checkpoints/best.ckpt"))
    assert "license" not in header
    assert "The licence of this model is not stated." in sections["Licences"]


@pytest.mark.parametrize("card", [{"license": "qqqq"}, {"license": "other"}, {"license": ["mit"]}])
def test_checkpoint_with_an_invalid_licence_is_one_line(tmp_path: Path, card: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"m\.ckpt: card\.license"):
        model_card(stating(write_member(tmp_path / "m.ckpt", *CNN), **card))


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"card": "---\nlicense: cc-by-nc-4.0\n---\n# A\n"}, "cc-by-nc-4.0"),
        ({"card": "---\nlicense: other\nlicense_name: noncommercial\n---\n"}, "noncommercial"),
        ({"config": '{"pretrained_cfg": {"license": "cc-by-nc-4.0"}}'}, "cc-by-nc-4.0"),
        (
            {"card": "---\nlicense: cc-by-4.0\n---\n", "config": '{"license": "cc-by-nc-4.0"}'},
            "cc-by-4.0, cc-by-nc-4.0",
        ),
    ],
)
def test_restrictive_licences_of_weights_are_named(
    folder: Path, tmp_path: Path, files: dict[str, str], licence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_folder(tmp_path / "network", **files)
    stating(folder / "checkpoints/best.ckpt", backbone=str(network), license="mit")
    _, sections = parts(write_model_card(folder).read_text(encoding="utf-8"))
    assert f"* network: licence {licence}, **which forbids commercial use**" in sections["Licences"]
    conflict = f"the model's licence is mit, but it began with network, whose licence {licence} forbids commercial use"
    assert f"Warning: {conflict}" in sections["Licences"]
    assert capsys.readouterr().out.count(f"warning: card.license: {conflict}") == 1
    stating(folder / "checkpoints/best.ckpt", backbone=str(network), license="cc-by-nc-4.0")
    assert "Warning: the model" not in write_model_card(folder).read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("card", ["", "license: mit", "---\n: {\n---\n", "---\n- mit\n---\n", "---\nlicense: 3\n---\n"])
def test_files_of_a_network_may_state_no_licence(tmp_path: Path, card: str) -> None:
    network = network_folder(tmp_path / "network", card=card, config="[]")
    _, sections = parts(model_card(stating(write_member(tmp_path / "m.ckpt", *CNN), backbone=str(network))))
    assert "* network: licence that of the file or the run" in sections["Licences"]
