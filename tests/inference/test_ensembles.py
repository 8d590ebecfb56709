"""Every command accepts an ensemble of checkpoints like a single checkpoint."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from running import run
from typer.testing import CliRunner

import audio_lightning as al
from audio_lightning.classifier.checkpoint_ensemble import CheckpointEnsemble
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.cli.main import app
from audio_lightning.core.errors import CheckpointError
from audio_lightning.inference.load import load_classifier

LSTM = ["data.sample_rate=8000", "data.clip_seconds=0.25", "data.batch_size=8", "feature.n_mels=16", "model=lstm",
        "model.hidden_dim=8", "trainer=cpu", "trainer.max_epochs=2", "data.validation_fold=2"]  # fmt: skip


@pytest.fixture(scope="module")
def members(trained: Path, tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders of two trainings with one test part, and other training parts."""
    folder = tmp_path_factory.mktemp("lstm") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        run(tiny_urbansound8k, folder, settings=LSTM)
    return [trained, folder]


@pytest.fixture(scope="module")
def fitted(members: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit."""
    folder = tmp_path_factory.mktemp("fit")
    (folder / "fit.json").write_text("{}", encoding="utf-8")
    write_ensemble(folder / "model.ckpt", [member / "checkpoints/best.ckpt" for member in members], [2, 1])
    return folder


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def table(folder: Path, recordings: Path, output: Path) -> pd.DataFrame:
    assert invoke("predict", folder, recordings, "--output", output)[0] == 0
    return pd.read_csv(output)


def test_predict(fitted: Path, members: list[Path], tiny_urbansound8k: Path, tmp_path: Path) -> None:
    recordings = tiny_urbansound8k / "audio/fold1"
    found, first, second = (table(folder, recordings, tmp_path / "p.csv") for folder in (fitted, *members))
    shares = [name for name in found if name.startswith("probability")]
    np.testing.assert_allclose(found[shares], (2 * first[shares] + second[shares]) / 3, atol=1e-6)
    assert list(found["predicted"]) == [shares[place].split()[1] for place in found[shares].to_numpy().argmax(axis=1)]
    frame = al.predict(fitted, recordings)
    np.testing.assert_allclose(frame[shares], found[shares], atol=1e-6)


def test_embed(fitted: Path, members: list[Path], tiny_urbansound8k: Path, tmp_path: Path) -> None:
    recordings = tiny_urbansound8k / "audio/fold1"
    assert invoke("embed", fitted, recordings, "--output", tmp_path / "e.npz")[0] == 0
    each = [al.embed(member, recordings).filter(like="embedding").to_numpy() for member in members]
    with np.load(tmp_path / "e.npz") as found:
        np.testing.assert_allclose(found["embedding"], np.concatenate(each, axis=1), atol=1e-6)
    assert al.embed(fitted, recordings).filter(like="embedding").shape == (9, sum(found.shape[1] for found in each))


def test_evaluate_on_the_common_test_part(fitted: Path, members: list[Path], tmp_path: Path) -> None:
    # For the folder of a fit, evaluate would return the cross-validation metrics.
    alone = shutil.copy(fitted / "model.ckpt", tmp_path / "alone.ckpt")
    code, out, err = invoke("evaluate", alone, "--json", "--output", tmp_path)
    assert code == 0, err
    metrics = json.loads(out)
    assert (metrics["num_clips/test"], metrics["num_train_overlap"], metrics["leakage"]) == (9, 0, "none found")
    each = [pd.read_csv(member / "predictions.csv").sort_values("path") for member in members]
    found = pd.read_csv(tmp_path / "predictions.csv").sort_values("path")
    shares = [name for name in found if name.startswith("probability")]
    mean = (2 * each[0][shares].to_numpy() + each[1][shares].to_numpy()) / 3
    np.testing.assert_allclose(found[shares], mean, atol=1e-6)
    label = [shares.index(f"probability {name}") for name in found["label"]]
    assert metrics["test/loss"] == pytest.approx(-np.log(mean[range(9), label]).mean(), abs=1e-5)
    assert metrics["test/accuracy"] == pytest.approx((mean.argmax(axis=1) == label).mean())


def test_overlap_counts_training_clips_of_all_members(fitted: Path, tiny_urbansound8k: Path) -> None:
    """One member was validated on the clips of the first fold, the other trained on them."""
    for overrides in (
        ["data.test_fold=1"],
        ["data=urbansound8k", f"data.root={tiny_urbansound8k}", "data.test_fold=1"],
    ):
        code, out, err = invoke("evaluate", fitted, *overrides, "--json")
        assert code == 0, err
        assert (json.loads(out)["num_train_overlap"], json.loads(out)["leakage"]) == (9, "present")
        assert "9 of 9 clips were in the training data" in err


def test_load(fitted: Path) -> None:
    for found in (al.load(fitted), load_classifier(fitted / "model.ckpt"),
                  AudioClassifier.load_from_checkpoint(fitted / "model.ckpt")):  # fmt: skip
        assert isinstance(found, CheckpointEnsemble)
        assert found.device == torch.device("cpu")


@pytest.mark.parametrize("there", [True, False])
def test_unfinished_fits_are_reported(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "state.json").write_text("{}", encoding="utf-8")
    expected = r"the fit is not finished \(no model\.ckpt" if there else r"no checkpoints/best\.ckpt"
    with pytest.raises(CheckpointError, match=expected):
        load_classifier(tmp_path)


def test_links_within_the_folder_of_a_fit_are_not_followed(fitted: Path, tmp_path: Path) -> None:
    shutil.copy(fitted / "fit.json", tmp_path)
    (tmp_path / "model.ckpt").symlink_to(fitted / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"model\.ckpt"):
        load_classifier(tmp_path)


def test_a_run_cannot_be_resumed_from_it(fitted: Path) -> None:
    code, _, err = invoke("train", f"resume={fitted}")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "expected a folder with config.yaml" in err
