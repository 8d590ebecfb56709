"""Runs in Weights & Biases: nothing is asked, nothing waits for a network for long, and nothing is lost."""

import contextlib
import io
import os
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.core.messages import print_and_log
from audio_lightning.loggers.loggers import RATE, DashboardLogger, Row
from audio_lightning.loggers.media.items import Confusion, Curves, Gallery, Item, Table
from audio_lightning.loggers.wandb_connectivity import SECONDS_TO_ANSWER, asking, has_key, proxies_of
from audio_lightning.run_folder import run_files

if TYPE_CHECKING:
    import wandb

SECONDS_TO_START = 6.0
"""How long until it has taken the run; with what wandb does before and after, a start takes 10 s at most."""

SECONDS_TO_END = 60
"""How long a run may go on sending when its training has ended; what is left then can be sent later."""

MOST_CELLS = 10_000
"""Rows of a table that a chart is drawn from; wandb leaves out what is behind them."""


class WandbLogger(DashboardLogger):
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

    title = "W&B"

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
        super().__init__(save_dir)
        self.mode, self.group, self.log_files = mode, group, log_files
        self._described: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "job_type": job_type,
            "name": name,
            "tags": list(tags) or None,
            "notes": notes,
        }
        self._run: wandb.Run | None = None

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

    def begin(self, *, multilabel: bool) -> None:
        """Begin the run; its config is that of the run folder, which has all of it."""
        _ = self.run

    def write_row(self, row: Row) -> None:
        """Add a row to the history."""
        self.run.log({"epoch": row.epoch, "step": row.step, **row.values})

    def write_facts(self, facts: Mapping[str, float]) -> None:
        """Put numbers into the summary."""
        self.run.summary.update(dict(facts))

    def write_item(self, item: Item, step: int) -> None:
        """Add a chart, a table with pictures and sound to play, or a picture."""
        self.run.log({"epoch": step, **_shown(item)})

    def write_results(self, metrics: Mapping[str, Any]) -> None:
        """Put what the run folder holds of a finished training into the run, if there is one."""
        if self._run is None:
            return
        import wandb

        self._run.summary.update(dict(metrics))
        if self.log_files:
            artifact = wandb.Artifact(f"run-{self._run.id}", type="run")
            for path in run_files(self.folder):
                artifact.add_file(str(path), name=path.relative_to(self.folder.path).as_posix())
            self._run.log_artifact(artifact)

    def end(self, exit_code: int) -> None:
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
        except Exception as error:  # whatever wandb or its own process died of: the training has ended as it has
            left = True
            if not isinstance(error, TimeoutError):
                print_and_log(f"W&B: the run was not ended in good order ({type(error).__name__})")
        if left and not run.disabled:
            print_and_log(f"W&B: kept on this machine; send it with: wandb sync {shlex.quote(run.settings.sync_dir)}")

    def _start(self) -> "wandb.Run":
        state = self.folder.path / "wandb" / "run.json"
        before: dict[str, Any] = {}
        with contextlib.suppress(FileError):  # a damaged one is as good as none: another run begins
            before = read_json(state) if state.is_file() else {}
        if not (isinstance(before.get("id"), str) and isinstance(before.get("offline"), bool)):
            before = {}
        run = self._start_online(before) or self._start_offline(before)
        if run.disabled:
            return run
        write_json(state, {"id": run.id, "group": run.group, "offline": run.offline})
        run.define_metric("epoch")
        run.define_metric("step")
        for metric in ("train/step_loss", "train/gradient_norm", RATE, f"{RATE}/*"):
            run.define_metric(metric, step_metric="step")
        run.define_metric("*", step_metric="epoch")
        if self.folder.config.is_file():
            # Of DictConfig, wandb would keep the inner nodes as text.
            config: Any = OmegaConf.to_container(self.folder.read_config(), resolve=True)
            run.config.update(config, allow_val_change=True)
        if before and run.id != before["id"]:
            run.config.update({"continues": before["id"]})
        if not run.offline:
            print_and_log(f"W&B: {run.url}")
        return run

    def _start_online(self, before: dict[str, Any]) -> "wandb.Run | None":
        """A run that is sent as it is written (or none that is, where that is asked for); None where it cannot be."""
        import wandb

        settings = wandb.setup().settings
        mode = settings.mode if self.mode == "auto" else self.mode
        if mode in ("offline", "dryrun") or (mode != "disabled" and not has_key(settings)):
            return None
        known = {"id": before["id"], "resume": "allow"} if before and not before["offline"] else {}
        deadline = time.monotonic() + SECONDS_TO_START
        try:
            if mode != "disabled":
                why_not = asking(settings.base_url, SECONDS_TO_ANSWER, proxies_of(settings))
                import wandb.apis.public  # wandb.init needs seconds for that, in which the server answers

                if reason := why_not():
                    raise wandb.errors.CommError(reason)
            left = max(1.0, deadline - time.monotonic())
            run = self._init(mode=mode, group=self.group or before.get("group"), init_timeout=left, **known)
            if not run.disabled:
                _ask_nothing_more(run)
            return run
        except (wandb.Error, TimeoutError) as error:  # also a key that is none; a wrong name is refused offline, too
            reason = str(error).strip().partition("\n")[0]
            print_and_log(f"W&B: going on offline, since the server cannot be used ({reason})")
            return None

    def _start_offline(self, before: dict[str, Any]) -> "wandb.Run":
        import wandb

        identity = secrets.token_hex(4)
        group = self.group or before.get("group") or before.get("id") or os.environ.get("WANDB_RUN_GROUP", identity)
        known: dict[str, Any] = {} if "WANDB_RUN_ID" in os.environ else {"id": identity}
        try:
            return self._init(mode="offline", group=group, **known)
        except wandb.Error as error:
            raise ConfigError(f"logger.wandb: {str(error).splitlines()[0]}") from error

    def _init(self, *, init_timeout: float = SECONDS_TO_START, **arguments: Any) -> "wandb.Run":
        import wandb

        settings = wandb.Settings(
            silent=True,
            reinit="create_new",  # or the second training of a process would go on in the run of the first
            init_timeout=init_timeout,
            finish_timeout=SECONDS_TO_END,
            finish_timeout_raises=True,
        )
        self.folder.path.mkdir(parents=True, exist_ok=True)
        return wandb.init(dir=self.folder.path, settings=settings, **self._described, **arguments)


def _ask_nothing_more(run: "wandb.Run") -> None:
    """Let no table and no artifact wait for the server, which may have died by then.

    Of each, wandb would ask in the training's own thread whether its name is taken by one of another type, and give the
    table up when there is no answer; without that it is written, and sent when there is a server.
    """
    with contextlib.suppress(AttributeError):
        run._public_api()  # logs in, now that the server is there; later ones are this one
        setattr(run, "_assert_can_log_artifact", lambda artifact: None)  # noqa: B010 - wandb has no setting for it


def _shown(item: Item) -> dict[str, Any]:
    """What is logged for an item."""
    import wandb

    if isinstance(item, Table):
        return {item.name: wandb.Table(columns=list(item.columns), data=[list(row) for row in item.rows])}
    picture = wandb.Image(Image.open(io.BytesIO(item.png)))
    if isinstance(item, Gallery):
        table = wandb.Table(columns=["audio", "spectrogram", *item.table.columns])
        for clip, facts in zip(item.clips, item.table.rows):
            sound = wandb.Audio(clip.samples, sample_rate=item.sample_rate, caption=clip.caption)
            table.add_data(sound, wandb.Image(Image.open(io.BytesIO(clip.png))), *facts)
        # Beside the table also in the run's own folder: what is in a table lies elsewhere until it is sent.
        sounds = [wandb.Audio(clip.samples, item.sample_rate, clip.caption) for clip in item.clips]
        return {item.name: table, f"{item.name}_picture": picture, f"{item.name}_audio": sounds}
    shown: dict[str, Any] = {f"{item.name}_picture": picture}
    if isinstance(item, Curves) and len(item.points) <= MOST_CELLS:
        data = wandb.Table(columns=["class", *item.axes], data=[list(point) for point in item.points])
        fields = {"x": item.axes[0], "y": item.axes[1], "class": "class"}
        shown[item.name] = wandb.plot_table(
            "wandb/area-under-curve/v0", data, fields, {"title": item.title, "x-axis-title": item.axes[0],
                                                        "y-axis-title": item.axes[1]}
        )  # fmt: skip
    if isinstance(item, Confusion) and item.counts.size <= MOST_CELLS:
        pairs = [pair for pair, count in np.ndenumerate(item.counts) for _ in range(count)]
        shown[item.name] = wandb.plot.confusion_matrix(
            y_true=[true for true, _ in pairs], preds=[taken for _, taken in pairs], class_names=list(item.classes)
        )
    return shown
