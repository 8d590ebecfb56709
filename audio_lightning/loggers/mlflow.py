"""Runs in MLflow."""

import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from omegaconf import OmegaConf

from audio_lightning.core.errors import FileError
from audio_lightning.core.files import read_json, to_json, write_json
from audio_lightning.loggers.loggers import DashboardLogger, Row, flat
from audio_lightning.loggers.media.items import Cell, Gallery, Item, Table
from audio_lightning.run_folder import run_files

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MOST_AT_ONCE = 100
"""Parameters, or metrics, that a server takes in one request."""

MOST_CHARACTERS = 500
"""Length of a parameter's value."""

SECONDS_TO_BEGIN = 60.0
"""How long a run waits for others that begin in the same data base, the first of which makes its tables."""

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""What holds for MLflow unless the environment says otherwise: with its own settings, an absent server is waited for
for minutes."""


class MlflowLogger(DashboardLogger):
    """A run in MLflow.

    Metrics of epochs lie over the epoch, those of steps (and learning rates) over the step; they are sent once an
    epoch. Parameters are the configuration, artifacts are pictures, tables and clips. A run that is resumed goes on as
    the same run.

    Args:
        save_dir: the run folder.
        experiment_name: that the run belongs to.
        run_name: what it is called; None lets MLflow make one up.
        tracking_uri: of a server or a data base. None is MLFLOW_TRACKING_URI where it is set, and else a data base in
            the folder that the training is started from, where ``mlflow ui`` looks for it.
        tags: labels and their values.
        log_files: keep the files of the run folder, the best checkpoint among them, as artifacts.

    Raises:
        ModuleNotFoundError: MLflow is not installed, or what it needs for a data base.
    """

    title = "MLflow"
    gives_up = True

    def __init__(
        self,
        save_dir: str,
        experiment_name: str = "audio-lightning",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: dict[str, str] | None = None,
        log_files: bool = False,
    ) -> None:
        super().__init__(save_dir)
        self.experiment_name, self.run_name, self.log_files = experiment_name, run_name, log_files
        self.tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.tags = {str(key): str(value) for key, value in (tags or {}).items()}
        local = not self.tracking_uri or self.tracking_uri.startswith("sqlite")
        for package in ("mlflow", *(("sqlalchemy", "alembic") if local else ())):
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named '{package}'")
        self._client: MlflowClient | None = None
        self._id = ""
        self._waiting: list[tuple[str, float, int, int]] = []

    @property
    def name(self) -> str:
        """Kind of the logger."""
        return "mlflow"

    @property
    def version(self) -> str:
        """Id of the run, once it has begun."""
        return self._id

    @property
    def client(self) -> "MlflowClient":
        """The connection to a run, which begins when it is first asked for."""
        if self._client is None:
            self._client = self._start()
        return self._client

    def begin(self, *, multilabel: bool) -> None:
        """Begin the run; its parameters are the configuration, which a run that goes on has already."""
        known = self.client.get_run(self._id).data.params
        if not self.folder.config.is_file():
            return
        from mlflow.entities import Param

        plain: Any = OmegaConf.to_container(self.folder.read_config(), resolve=True)
        values = {_key(name): str(value)[:MOST_CHARACTERS] for name, value in flat(plain).items()}
        parameters = [Param(name, value) for name, value in values.items() if name not in known]
        for start in range(0, len(parameters), MOST_AT_ONCE):
            self.client.log_batch(self._id, params=parameters[start : start + MOST_AT_ONCE])
        self.client.log_artifact(self._id, str(self.folder.config))

    def write_row(self, row: Row) -> None:
        """Keep a row, and send what was kept when an epoch has ended."""
        now = int(time.time() * 1000)
        self._waiting += [(name, value, now, place) for name, value, place in row.points()]
        if row.of_epoch:
            self._send()

    def write_facts(self, facts: Mapping[str, float]) -> None:
        """Send numbers."""
        now = int(time.time() * 1000)
        self._waiting += [(f"results/{name}", float(value), now, 0) for name, value in facts.items()]
        self._send()

    def write_item(self, item: Item, step: int) -> None:
        """Send files: pictures, tables as MLflow shows them, and sound."""
        with tempfile.TemporaryDirectory() as place:
            self._write(item, Path(place))
            self.client.log_artifacts(self._id, place)

    def write_results(self, metrics: Mapping[str, Any]) -> None:
        """Send the numbers and, where they are wanted, the files of the run."""
        now = int(time.time() * 1000)
        numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        self._waiting += [(f"results/{name}", float(value), now, metrics["epochs"]) for name, value in numbers.items()]
        self._send()
        if self.log_files:
            for path in run_files(self.folder):
                folder = path.relative_to(self.folder.path).parent.as_posix()
                self.client.log_artifact(self._id, str(path), f"run/{folder}" if folder != "." else "run")

    def end(self, exit_code: int) -> None:
        """Say how the run ended."""
        if self._client is not None:
            self._send()
            status = {0: "FINISHED", 130: "KILLED", 143: "KILLED"}.get(exit_code, "FAILED")
            self._client.set_terminated(self._id, status)
            self._client = None

    def _start(self) -> "MlflowClient":
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        for module in ("mlflow", "alembic"):
            logging.getLogger(module).setLevel(logging.WARNING)
        import mlflow
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        state = self.folder.path / "mlflow.json"
        before: dict[str, Any] = {}
        with suppress(FileError):  # a damaged one is as good as none: another run begins
            before = read_json(state) if state.is_file() else {}
        # Not the address that the folder has, which somebody else may have written there.
        uri = self.tracking_uri or mlflow.get_tracking_uri()
        with _alone(uri):
            client = MlflowClient(uri)
            if before.get("tracking_uri") == uri and isinstance(before.get("run_id"), str):
                self._id = before["run_id"]
                client.update_run(self._id, status="RUNNING")
                return client
            identity = self._experiment(client)
        self._id = client.create_run(identity, run_name=self.run_name, tags=self.tags).info.run_id
        write_json(state, {"tracking_uri": uri, "run_id": self._id})
        return client

    def _experiment(self, client: "MlflowClient") -> str:
        """The id of the experiment, which another run of a server may make at the same moment."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment_name)
        if found is None:
            try:
                return client.create_experiment(self.experiment_name)
            except MlflowException:
                found = client.get_experiment_by_name(self.experiment_name)
                if found is None:
                    raise
        return found.experiment_id

    def _send(self) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_key(name), value, when, place) for name, value, when, place in self._waiting]
        for start in range(0, len(metrics), MOST_AT_ONCE):
            self.client.log_batch(self._id, metrics=metrics[start : start + MOST_AT_ONCE])
        self._waiting.clear()

    @staticmethod
    def _write(item: Item, place: Path) -> None:
        path = place / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = item.table if isinstance(item, Gallery) else item
        if isinstance(table, Table):
            content = {"columns": list(table.columns), "data": [[_known(cell) for cell in row] for row in table.rows]}
            path.with_suffix(".json").write_text(to_json(content), encoding="utf-8")
        if not isinstance(item, Table):
            path.with_suffix(".png").write_bytes(item.png)
        if isinstance(item, Gallery):
            import soundfile

            path.mkdir()
            for number, clip in enumerate(item.clips, 1):
                soundfile.write(path / f"{number:02d}.wav", clip.samples, item.sample_rate, subtype="PCM_16")
                (path / f"{number:02d}.png").write_bytes(clip.png)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Begin in a data base of this machine while no other run does: two that make its tables at once fail."""
    path = Path(uri.partition(":///")[2].partition("?")[0])
    if not uri.startswith("sqlite:///") or not path.name:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=SECONDS_TO_BEGIN):
        yield


def _known(cell: Cell) -> Cell | None:
    """A value that JSON has a word for."""
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w/. -]", "_", name)
