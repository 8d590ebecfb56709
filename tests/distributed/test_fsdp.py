"""FSDP with two processes: checkpoints and results are those of any other training."""

import json
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from running import resume, run

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import check_config, compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.distributed.fsdp import ShardedStrategy
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.history import History
from audio_lightning.training.trainer import make_callbacks, make_trainer

ON_CPU = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2"]
OPTIONS = [*ON_CPU, "data.batch_size=5", "trainer.max_epochs=2", "trainer.gradient_clip_val=1"]


def test_the_strategy_is_ours(tmp_path: Path) -> None:
    config = compose([*ON_CPU, "data=demo"])
    check_config(config)
    trainer = make_trainer(config, RunFolder(tmp_path), make_callbacks(config, History(tmp_path / "history.csv")))
    assert isinstance(trainer.strategy, ShardedStrategy)
    assert trainer.strategy._state_dict_type == "full"
    assert trainer.strategy.mixed_precision_config is None, "the front end would be given 16 bits"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_gpus_nothing_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^trainer.accelerator=gpu: not available on this machine"):
        run(tmp_path, tmp_path / "run", "trainer=fsdp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["callbacks=ema"], "callbacks=ema: averages whole networks"),
        (["callbacks=swa"], "callbacks=swa: averages whole networks"),
        (["finetune.freeze=all", "finetune.unfreeze_epoch=1"], "keep the layers frozen"),
    ],
)
def test_what_needs_the_whole_network_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, tmp_path / "run", *ON_CPU, *options, settings=["feature.n_mels=16"])


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training on two processes that was resumed."""
    root = tmp_path_factory.mktemp("sharded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(root / "cache"))
        run(tiny.write_urbansound8k(root / "data", clips=4), root / "run", *OPTIONS)
        resume(root / "run", "trainer.max_epochs=3")
    return root / "run"


@pytest.mark.full
def test_the_checkpoint_holds_the_whole_network(sharded: Path) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(sharded / f"checkpoints/{name}.ckpt", weights_only=True)
        classifier = AudioClassifier.load_from_checkpoint(sharded / f"checkpoints/{name}.ckpt")
        assert checkpoint["state_dict"].keys() == classifier.state_dict().keys()
    state = checkpoint["optimizer_states"][0]["state"]
    shapes = [parameter.shape for parameter in classifier.parameters()]
    assert [state[number]["exp_avg"].shape for number in range(len(shapes))] == shapes


@pytest.mark.full
def test_the_evaluation_equals_that_of_one_process(sharded: Path, tmp_path: Path) -> None:
    evaluate(sharded, [], output=tmp_path)
    alone, together = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, sharded))
    assert alone.pop("num_train_overlap") == 0
    assert (
        alone.pop("warnings").replace("(test", "(validation 4, test") in together["warnings"]
    )  # of the test part alone
    for name in alone:
        assert together[name] == pytest.approx(alone[name], abs=1e-6), name
    history = pd.read_csv(sharded / "history.csv")
    assert list(history["step"]) == [3, 6, 9]
    best = history.set_index("epoch").loc[together["best_epoch"]]
    config = ["data.split=folds", f"data.test_fold={together['validation_fold']}"]
    validated = evaluate(sharded, config).metrics
    assert best["validation/loss"] == pytest.approx(validated["test/loss"], abs=1e-6)
    assert together["parameters"] == sum(
        p.numel() for p in AudioClassifier.load_from_checkpoint(sharded / "checkpoints/best.ckpt").parameters()
    )


@pytest.mark.full
def test_it_learns_what_ddp_learns(sharded: Path, tmp_path: Path) -> None:
    options = [option for option in OPTIONS if option not in ON_CPU]
    run(sharded.parent / "data", tmp_path / "run", "trainer=ddp_sim", *options[:-1], "trainer.gradient_clip_val=1")
    ddp, fsdp = (pd.read_csv(folder / "history.csv") for folder in (tmp_path / "run", sharded))
    assert fsdp["train/loss"][:2].to_numpy() == pytest.approx(ddp["train/loss"].to_numpy(), abs=1e-2)
