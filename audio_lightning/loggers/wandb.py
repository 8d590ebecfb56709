"""Weights & Biases logger: no prompt, no long wait for the network, no lost run."""

import contextlib
import os
import re
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import write_json
from audio_lightning.core.messages import print_and_log
from audio_lightning.loggers.loggers import RATE, Row, RunLogger, read_state, why
from audio_lightning.loggers.wandb_connectivity import SECONDS_TO_ANSWER, asking, has_key, proxies_of, start

if TYPE_CHECKING:
    import wandb

SECONDS_TO_START = 6.0
"""Seconds until the server must have accepted the run; with wandb's own work, a start takes 10 s at most."""

SECONDS_TO_LINK = 60.0
"""Time limit in seconds for sending a model and linking it to a registry."""

REGISTRY = re.compile(r"(?:[\w .-]+/)?wandb-registry-[\w .-]+/[\w .-]+")
"""Path of a collection of a W&B registry, optionally with the organization."""

SECONDS_TO_END = 60
"""Seconds that a run may continue to send after its training; the rest can be sent later with ``wandb sync``."""


class WandbLogger(RunLogger):
    """Weights & Biases logger.

    The history has one row per epoch and one row every ``trainer.log_every_n_steps`` steps; the x axes are ``epoch``
    (from 1) and ``step``. The config is that of the run folder. The summary is ``metrics.json``, whose
    ``validation/...`` values are those of the best epoch.

    A resumed training continues its run online. Offline, wandb cannot continue a run: the resumed training is a second
    run of the same group, and ``continues`` in its config is the id of the first.

    Args:
        save_dir: the run folder.
        project: project of the run.
        entity: user or team; None: the default of the account.
        group: name shared by runs that belong together.
        job_type: kind of the run within the group.
        name: name of the run; None: wandb generates one.
        tags: W&B tags of the run.
        notes: longer description of the run.
        mode: ``auto`` is online with an API key (``wandb login`` or WANDB_API_KEY), and offline otherwise;
            WANDB_MODE decides if it is set. ``online`` without a key is offline, too.
        log_files: send the files of the run folder, including the best checkpoint, as an artifact.
        registry: collection of a W&B registry, ``wandb-registry-NAME/COLLECTION`` or, for another organization than
            that of the entity, ``ORGANIZATION/wandb-registry-NAME/COLLECTION``. The best checkpoint is sent as an
            artifact of the type ``model`` and linked to it; None: not linked.
        registry_aliases: aliases of the linked model, in addition to ``latest``, which W&B sets.

    Raises:
        ConfigError: an invalid registry or alias; on first use, if wandb refuses a name.

    Example:
        >>> WandbLogger("runs/example", project="birds", mode="offline").name
        'w&b'
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
        registry: str | None = None,
        registry_aliases: Sequence[str] = (),
    ) -> None:
        super().__init__(save_dir, log_files)
        if registry is not None and REGISTRY.fullmatch(registry) is None:
            raise ConfigError(
                f"logger.wandb.registry={registry}: expected wandb-registry-NAME/COLLECTION, such as "
                "wandb-registry-model/birds"
            )
        for alias in registry_aliases:
            if not alias or set(alias) & {"/", ":"}:
                raise ConfigError(
                    f"logger.wandb.registry_aliases: {alias!r} is no alias of W&B; give a text without / and :"
                )
        self.registry, self.registry_aliases = registry, list(registry_aliases)
        self.mode, self.group = mode, group
        self._described: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "job_type": job_type,
            "name": name,
            "tags": list(tags) or None,
            "notes": notes,
        }

    def open(self) -> LightningWandbLogger:
        """Begin a run, online or offline, or continue the one recorded in the run folder."""
        state = self.folder.path / "wandb" / "run.json"
        before = read_state(state)
        if not (isinstance(before.get("id"), str) and isinstance(before.get("offline"), bool)):
            before = {}
        run = self._start_online(before) or self._start_offline(before)
        if not run.disabled:
            write_json(state, {"id": run.id, "group": run.group, "offline": run.offline})
            run.define_metric("epoch")
            run.define_metric("step")
            for metric in ("train/step_loss", "train/gradient_norm", RATE, f"{RATE}/*"):
                run.define_metric(metric, step_metric="step")
            run.define_metric("*", step_metric="epoch")
            if before and run.id != before["id"]:
                run.config.update({"continues": before["id"]})
            if not run.offline:
                print_and_log(f"W&B: {run.url}")
        return LightningWandbLogger(save_dir=self.folder.path, experiment=run)

    def write_config(self, config: dict[str, Any], *, multilabel: bool) -> None:
        """Log the configuration as a nested dictionary."""
        self.backend.log_hyperparams(config)

    def write_row(self, row: Row) -> None:
        """Append a row to the history."""
        self.backend.log_metrics({"epoch": row.epoch, "step": row.step, **row.values})

    def write_summary(self, values: Mapping[str, Any], epoch: int) -> None:
        """Put values into the summary."""
        self.backend.experiment.summary.update(dict(values))

    def write_files(self, paths: Sequence[Path]) -> None:
        """Send files as an artifact of the type ``run``."""
        run = self.backend.experiment
        run.log_artifact(self._artifact(f"run-{run.id}", "run", paths))

    def log_results(self) -> None:
        """Log the results, and link the best checkpoint to the registry."""
        super().log_results()
        if self._backend is not None:
            files = (self.folder.best, self.folder.config, self.folder.metrics)
            self.link_model([path for path in files if path.is_file()])

    def link_model(self, paths: Sequence[Path]) -> None:
        """Send files as an artifact of the type ``model`` and link it to the registry; report a failure in one line."""
        if self.registry is None or (run := self.backend.experiment).disabled:
            return
        name = f"model-{run.id}"
        try:
            artifact = self._artifact(name, "model", paths)
            run.log_artifact(artifact)
            if run.offline:  # wandb cannot link before the artifact is on the server
                reason = "the run is offline"
            else:
                start(lambda: run.link_artifact(artifact, self.registry, self.registry_aliases)).result(SECONDS_TO_LINK)
                print_and_log(f"W&B: linked to {self.registry}")
                return
        except TimeoutError:
            reason = f"the server did not respond within {SECONDS_TO_LINK:g} s"
        except Exception as error:  # any exception of wandb and its client for HTTP, such as a missing permission
            reason = why(error)
        print_and_log(
            f"W&B: the model is not linked to {self.registry} ({reason}); link the artifact {name} on its page"
            f"{' after wandb sync' if run.offline else ''}"
        )

    def _artifact(self, name: str, kind: str, paths: Sequence[Path]) -> "wandb.Artifact":
        import wandb

        artifact = wandb.Artifact(name, type=kind)
        for path in paths:
            artifact.add_file(str(path), name=path.relative_to(self.folder.path).as_posix())
        return artifact

    def close(self, backend: Any, exit_code: int) -> None:
        """End the run; if it was not sent, print the command that sends it."""
        run = backend.experiment
        left = run.offline
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:  # whatever wandb or its process died of: the training itself has ended
            left = True
            if not isinstance(error, TimeoutError):
                print_and_log(f"W&B: the run could not be closed ({type(error).__name__})")
        if left and not run.disabled:
            print_and_log(f"W&B: kept on this machine; send it with: wandb sync {shlex.quote(run.settings.sync_dir)}")

    def _start_online(self, before: dict[str, Any]) -> "wandb.Run | None":
        """Begin a run that is sent while it is written, or a disabled one; None if the server cannot be used."""
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
                import wandb.apis.public  # wandb.init needs seconds for this import; the server responds meanwhile

                if reason := why_not():
                    raise wandb.errors.CommError(reason)
            left = max(1.0, deadline - time.monotonic())
            run = self._init(mode=mode, group=self.group or before.get("group"), init_timeout=left, **known)
            if not run.disabled:
                _ask_nothing_more(run)
            return run
        except (wandb.Error, TimeoutError) as error:  # also an invalid key; offline refuses invalid names, too
            reason = str(error).strip().partition("\n")[0]
            print_and_log(f"W&B: the server cannot be used ({reason}); continuing offline")
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
            reinit="create_new",  # otherwise the second training of a process would continue the first run
            init_timeout=init_timeout,
            finish_timeout=SECONDS_TO_END,
            finish_timeout_raises=True,
        )
        self.folder.path.mkdir(parents=True, exist_ok=True)
        return wandb.init(dir=self.folder.path, settings=settings, **self._described, **arguments)


def _ask_nothing_more(run: "wandb.Run") -> None:
    """Log tables and artifacts without a request to the server, which may not respond any more.

    For each, wandb would ask the server from the training's thread whether the name is taken by another type, and drop
    the table if there is no response. Without that request the table is written, and sent when the server responds.
    """
    with contextlib.suppress(AttributeError):
        run._public_api()  # logs in while the server responds; later calls return the same object
        setattr(run, "_assert_can_log_artifact", lambda artifact: None)  # noqa: B010 - wandb has no setting for it
