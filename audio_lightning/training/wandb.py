"""Runs in Weights & Biases: nothing is asked, nothing waits for a network for long, and nothing is lost."""

import contextlib
import netrc
import os
import secrets
import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import lightning.pytorch as pl
import pandas as pd
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from audio_lightning.errors import ConfigError
from audio_lightning.files import read_json, write_json
from audio_lightning.training.folder import RunFolder

if TYPE_CHECKING:
    import wandb

SECONDS_TO_START = 6
"""How long a server may take to answer; with what wandb does before and after, a start takes 10 s at most."""

SECONDS_TO_END = 60
"""How long a run may go on sending when its training has ended; what is left then can be sent later."""


class WandbLogger(Logger):
    """A run in Weights & Biases.

    Its history has a row an epoch and a row every ``trainer.log_every_n_steps`` steps, with ``epoch`` (from 1) and
    ``step`` as the x axes. Its config is that of the run folder. When a training has ended well, the summary is that of
    ``metrics.json``, where ``validation/...`` are those of the best epoch.

    A run that goes on does so online under its own id. Offline wandb cannot do that: there it is a second run of the
    same group, whose config says under ``continues`` which one it continues.

    Args:
        save_dir: the run folder.
        project: that the run belongs to.
        entity: user or team; None for the default of the account.
        group: of runs that belong together.
        job_type: kind of the run within the group.
        name: of the run; None lets wandb make one up.
        tags: labels.
        notes: a longer description.
        mode: ``auto`` is online where there is a key (``wandb login`` or WANDB_API_KEY), and offline otherwise;
            WANDB_MODE decides where it is set. ``online`` without a key is offline, too.
        log_files: send the files of the run folder, the best checkpoint among them, as an artifact.
    """

    def __init__(
        self,
        save_dir: str,
        project: str = "audio-lightning",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        log_files: bool = False,
    ) -> None:
        super().__init__()
        self.folder = RunFolder(Path(save_dir))
        self.mode, self.group, self.log_files = mode, group, log_files
        self._described: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "job_type": job_type,
            "name": name,
            "tags": list(tags) or None,
            "notes": notes,
        }
        self.trainer: pl.Trainer | None = None
        self._run: wandb.Run | None = None
        self._held: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Kind of the logger."""
        return "wandb"

    @property
    def version(self) -> str | None:
        """Id of the run, once it has begun."""
        return self._run.id if self._run else None

    @property
    def run(self) -> "wandb.Run":
        """The run, which begins when it is first asked for.

        Raises:
            ConfigError: wandb refuses what the run is to be called.
        """
        if self._run is None:
            self._run = self._start()
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Begin the run; its config is that of the run folder, which has all of it."""
        _ = self.run

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row to the history.

        Validation metrics wait for the training metrics of their epoch, so that an epoch has one row; those that no
        training metrics follow, and test metrics, are of the best epoch and none of the history.
        """
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if all(name.startswith("test/") for name in values):
            return
        if all(name.startswith("validation/") for name in values):
            self._held = values
            return
        row: dict[str, float] = {"epoch": int(metrics.get("epoch", -1)) + 1, "step": int(step or 0), **values}
        if "train/loss" in values:
            row, self._held = {**row, **self._held}, {}
        if self.trainer is not None and self.trainer.optimizers:
            row["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.run.log(row)

    def log_results(self) -> None:
        """Put what the run folder holds of a finished training into the run, if there is one."""
        if self._run is None:
            return
        import wandb

        self._run.summary.update(read_json(self.folder.metrics))
        if self.folder.per_class.is_file():
            tables = {"test/per_class": wandb.Table(dataframe=pd.read_csv(self.folder.per_class))}
            self._run.log({**tables, **_confusion_matrix(self.folder)})
        if self.log_files:
            artifact = wandb.Artifact(f"run-{self._run.id}", type="run")
            for path in (*sorted(self.folder.path.glob("*.*")), self.folder.best):
                if path.is_file():
                    artifact.add_file(str(path), name=path.relative_to(self.folder.path).as_posix())
            self._run.log_artifact(artifact)

    def finish(self, exit_code: int = 0) -> None:
        """End the run, if there is one, and say how it can be sent where it has not been.

        Args:
            exit_code: anything but 0 marks the run as failed.
        """
        if self._run is None:
            return
        run, self._run = self._run, None
        left = run.offline
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            left = True
        if left and not run.disabled:
            print(
                f"W&B: kept on this machine; send it with: wandb sync {shlex.quote(run.settings.sync_dir)}", flush=True
            )

    def _start(self) -> "wandb.Run":
        state = self.folder.path / "wandb" / "run.json"
        before: dict[str, Any] = read_json(state) if state.is_file() else {}
        run = self._start_online(before) or self._start_offline(before)
        if run.disabled:
            return run
        write_json(state, {"id": run.id, "group": run.group, "offline": run.offline})
        run.define_metric("epoch")
        run.define_metric("step")
        for metric in ("train/step_loss", "learning_rate"):
            run.define_metric(metric, step_metric="step")
        run.define_metric("*", step_metric="epoch")
        if self.folder.config.is_file():
            # Of DictConfig, wandb would keep the inner nodes as text.
            config: Any = OmegaConf.to_container(self.folder.read_config(), resolve=True)
            run.config.update(config, allow_val_change=True)
        if before and run.id != before["id"]:
            run.config.update({"continues": before["id"]})
        if not run.offline:
            print(f"W&B: {run.url}", flush=True)
        return run

    def _start_online(self, before: dict[str, Any]) -> "wandb.Run | None":
        """A run that is sent as it is written (or none that is, where that is asked for); None where it cannot be."""
        import wandb

        settings = wandb.setup().settings
        mode = settings.mode if self.mode == "auto" else self.mode
        if mode in ("offline", "dryrun") or (mode != "disabled" and not has_key(settings)):
            return None
        known = {"id": before["id"], "resume": "allow"} if before and not before["offline"] else {}
        try:
            return self._init(mode=mode, group=self.group, **known)
        except (wandb.Error, TimeoutError) as error:  # also a key that is none; a wrong name is refused offline, too
            reason = str(error).strip().partition("\n")[0]
            print(f"W&B: going on offline, since the server cannot be used ({reason})", flush=True)
            return None

    def _start_offline(self, before: dict[str, Any]) -> "wandb.Run":
        import wandb

        identity = secrets.token_hex(4)
        group = self.group or before.get("group") or before.get("id") or os.environ.get("WANDB_RUN_GROUP", identity)
        known = {} if "WANDB_RUN_ID" in os.environ else {"id": identity}
        try:
            return self._init(mode="offline", group=group, **known)
        except wandb.Error as error:
            raise ConfigError(f"logger.wandb: {str(error).splitlines()[0]}") from error

    def _init(self, **arguments: Any) -> "wandb.Run":
        import wandb

        settings = wandb.Settings(
            silent=True,
            reinit="create_new",  # or the second training of a process would go on in the run of the first
            init_timeout=SECONDS_TO_START,
            finish_timeout=SECONDS_TO_END,
            finish_timeout_raises=True,
        )
        self.folder.path.mkdir(parents=True, exist_ok=True)
        return wandb.init(dir=self.folder.path, settings=settings, **self._described, **arguments)


@contextlib.contextmanager
def runs_ended(trainer: pl.Trainer) -> Iterator[None]:
    """End the runs of a trainer's loggers with the context: as finished, failed or interrupted.

    Args:
        trainer: whose run folder is complete when the context ends well.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    for logger in loggers:
        logger.trainer = trainer
    try:
        yield
    except BaseException as error:
        for logger in loggers:
            logger.finish(_exit_code(error))
        raise
    for logger in loggers:
        logger.log_results()
        logger.finish()


def has_key(settings: "wandb.Settings") -> bool:
    """Whether there is a key for the server, so that nobody has to be asked for one."""
    if settings.api_key or settings.identity_token_file:
        return True
    names = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in map(os.path.expanduser, names):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(path).authenticators(urlsplit(settings.base_url).netloc):
                return True
    return False


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if type(error).__name__ == "TrialPruned":  # a search gave it up, which is nobody's failure
        return 0
    code = getattr(error, "exit_code", None) or getattr(error, "code", None)
    return code if isinstance(code, int) else 1


def _confusion_matrix(folder: RunFolder) -> dict[str, Any]:
    """The chart, from the predictions; none where clips have several labels."""
    import wandb

    classes = pd.read_csv(folder.per_class, dtype=str, keep_default_na=False)["class"].tolist()
    number = {name: place for place, name in enumerate(classes)}
    predictions = pd.read_csv(folder.predictions, dtype=str, keep_default_na=False)
    true, predicted = predictions["label"].map(number), predictions["predicted"].map(number)
    if true.isna().any() or predicted.isna().any():
        return {}
    chart = wandb.plot.confusion_matrix(
        y_true=true.astype(int).tolist(), preds=predicted.astype(int).tolist(), class_names=classes
    )
    return {"test/confusion_matrix": chart}
