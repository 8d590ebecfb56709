"""Models in W&B registries: what is linked, and that a failure never ends a training."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb_files import written_runs
from wandb_server import KEY, serving

from audio_lightning.config import compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.run_names import name_run
from audio_lightning.loggers import wandb as loggers
from audio_lightning.loggers.wandb import WandbLogger
from audio_lightning.sweeps.sweep import parse_sweep_args, plan_sweep

REGISTRY = "wandb-registry-model/birds"


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A made-up key, and no server unless a test names one."""
    wandb.teardown()  # it reads the environment once
    values = {"NETRC": str(tmp_path / "netrc"), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        values[name] = str(tmp_path / "wandb files")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    with contextlib.suppress(ConnectionError):
        wandb.teardown()


@pytest.fixture
def links(account: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Links that wandb is asked for: type, name and files of the artifact, target and aliases."""
    asked: list[tuple[Any, ...]] = []

    def link(run: Any, artifact: Any, target_path: str, aliases: list[str] | None = None) -> None:
        files = sorted(artifact.manifest.entries)
        asked.append((artifact.type, artifact.name.partition(":")[0], files, target_path, aliases))

    account.setattr(wandb.Run, "link_artifact", link)
    return asked


def end_a_run(folder: Path, **options: Any) -> str:
    """Log a finished run folder as a training does; return the id of its W&B run."""
    for name, content in (("checkpoints/best.ckpt", "weights"), ("config.yaml", "a: 1"), ("history.csv", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "metrics.json").write_text(json.dumps({"epochs": 1, "test/accuracy": 0.5}))
    logger = WandbLogger(str(folder), **options)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=1)
    logger.log_results()
    logger.finish()
    return str(json.loads((folder / "wandb/run.json").read_text())["id"])


def test_the_best_checkpoint_is_linked(
    tmp_path: Path, account: pytest.MonkeyPatch, links: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        identity = end_a_run(tmp_path, registry=REGISTRY, registry_aliases=["staging"])
        assert server.exit_codes() == [0]
    files = ["checkpoints/best.ckpt", "config.yaml", "metrics.json"]
    assert links == [("model", f"model-{identity}", files, REGISTRY, ["staging"])]
    assert f"W&B: linked to {REGISTRY}" in capsys.readouterr().out


def test_nothing_is_linked_without_a_registry(tmp_path: Path, account: pytest.MonkeyPatch, links: list[Any]) -> None:
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        end_a_run(tmp_path)
        assert not server.asked("createArtifact(")
    assert links == []


def test_a_refusal_is_one_line(tmp_path: Path, account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise wandb.errors.CommError("permission denied\nto the registry")

    account.setattr(wandb.Run, "link_artifact", refuse)
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        identity = end_a_run(tmp_path, registry=REGISTRY)
        assert server.exit_codes() == [0]
        assert any("wandb-summary.json" in (request.body or {}).get("files", {}) for request in server.requests
                   if isinstance(request.body, dict))  # fmt: skip
    expected = f"W&B: the model is not linked to {REGISTRY} (permission denied); link the artifact model-{identity} on "
    assert capsys.readouterr().out.count(expected) == 1


def test_a_server_without_registries_is_one_line(
    tmp_path: Path, account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With wandb's own function, against a server that knows no such artifact."""
    account.setattr(loggers, "SECONDS_TO_LINK", 5.0)
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        end_a_run(tmp_path, registry=REGISTRY)
        assert server.exit_codes() == [0]
    assert capsys.readouterr().out.count(f"W&B: the model is not linked to {REGISTRY} (") == 1


def test_a_silent_server_is_not_waited_for(
    tmp_path: Path, account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    account.setattr(loggers, "SECONDS_TO_LINK", 0.2)
    account.setattr(wandb.Run, "link_artifact", lambda *arguments: ended.wait())
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        began = time.perf_counter()
        end_a_run(tmp_path, registry=REGISTRY)
        assert time.perf_counter() - began < loggers.SECONDS_TO_END
    ended.set()
    assert "(the server did not respond within 0.2 s)" in capsys.readouterr().out


def test_offline_the_artifact_is_kept_and_a_line_says_how_to_link_it(
    tmp_path: Path, links: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    identity = end_a_run(tmp_path, registry=REGISTRY, mode="offline")
    assert links == []
    out = capsys.readouterr().out
    expected = f"(the run is offline); link the artifact model-{identity} on its page after wandb sync"
    assert f"W&B: the model is not linked to {REGISTRY} {expected}" in out
    (written,) = written_runs(tmp_path)
    assert written.exit_code == 0


@pytest.mark.parametrize(
    "registry", ["birds", "model/birds", "wandb-registry-/birds", "wandb-registry-model", "a/b/c", ""]
)
def test_invalid_registries_are_one_line(tmp_path: Path, registry: str) -> None:
    with pytest.raises(ConfigError, match=r"^logger\.wandb\.registry=.*: expected wandb-registry-NAME/COLLECTION"):
        WandbLogger(str(tmp_path), registry=registry)


@pytest.mark.parametrize("alias", ["", "a/b", "a:b"])
def test_invalid_aliases_are_one_line(tmp_path: Path, alias: str) -> None:
    with pytest.raises(ConfigError, match=r"^logger\.wandb\.registry_aliases: .* is no alias of W&B"):
        WandbLogger(str(tmp_path), registry=f"team/{REGISTRY}", registry_aliases=[alias])


def test_trainings_of_a_fit_are_not_linked(tmp_path: Path) -> None:
    lines = ["logger=wandb", f"logger.wandb.registry={REGISTRY}"]
    for job_type, expected in (("trial", None), ("fit", REGISTRY)):
        name_run(config := compose(lines), tmp_path / "fit", "mfcc fold=1", lines, job_type=job_type)
        assert config.logger.wandb.registry == expected


def test_a_sweep_is_not_linked() -> None:
    request = parse_sweep_args(["data=demo", "seed=0,1", "logger=wandb", f"logger.wandb.registry={REGISTRY}"])
    with pytest.raises(ConfigError, match=r"^logger\.wandb\.registry: not supported by a sweep"):
        plan_sweep(request)
