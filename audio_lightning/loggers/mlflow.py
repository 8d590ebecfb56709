"""MLflow logger: runs on a tracking server or in a local database."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch.loggers import MLFlowLogger

from audio_lightning.core.files import write_json
from audio_lightning.loggers.loggers import Row, RunLogger, flat, read_state

MAX_METRICS_PER_REQUEST = 100
"""Limit of MLflow servers for one request."""

SECONDS_TO_BEGIN = 60.0
"""Seconds that a run waits for other runs that begin in the same database; the first of them creates the tables."""

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Defaults of MLflow's environment variables: MLflow's own defaults wait minutes for an absent server."""


class MlflowLogger(RunLogger):
    """MLflow logger; a resumed training continues its run.

    The x axis is the epoch for metrics of an epoch, and the step for metrics of steps and learning rates. Metrics are
    sent once per epoch. The configuration is logged as parameters; figures, tables and clips as artifacts.

    Args:
        save_dir: the run folder.
        experiment_name: experiment of the run.
        run_name: name of the run; None: MLflow generates one.
        tracking_uri: server or database; None: MLFLOW_TRACKING_URI if it is set, otherwise a database in the working
            directory, where ``mlflow ui`` looks for it.
        tags: MLflow tags of the run, with their values.
        log_files: store the files of the run folder, including the best checkpoint, as artifacts.

    Raises:
        ModuleNotFoundError: MLflow is not installed, or SQLAlchemy and Alembic, which it needs for a database.

    Example:
        >>> logger = MlflowLogger("runs/example", tracking_uri="http://localhost:5000", tags={"site": "north"})
        >>> logger.name, logger.tracking_uri
        ('mlflow', 'http://localhost:5000')
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
        super().__init__(save_dir, log_files)
        self.tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        local = not self.tracking_uri or self.tracking_uri.startswith("sqlite")
        for package in ("mlflow", *(("sqlalchemy", "alembic") if local else ())):
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named '{package}'")
        tags = {str(key): str(value) for key, value in (tags or {}).items()}
        self._described: dict[str, Any] = {"experiment_name": experiment_name, "run_name": run_name, "tags": tags}
        self._waiting: list[tuple[str, float, int, int]] = []

    def open(self) -> MLFlowLogger:
        """Begin a run, or continue the one recorded in the run folder if it is on the same server."""
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        for module in ("mlflow", "alembic", MLFlowLogger.__module__):
            logging.getLogger(module).setLevel(logging.ERROR)
        state = self.folder.path / "mlflow.json"
        before = read_state(state)
        # Never the address stored in the folder: another person may have written it.
        uri = self.tracking_uri or mlflow.get_tracking_uri()
        known = before.get("run_id") if before.get("tracking_uri") == uri else None
        environment = os.environ.get("MLFLOW_TRACKING_URI")
        try:
            with _alone(uri):
                logger = MLFlowLogger(tracking_uri=uri, run_id=known, **self._described)
                _begin(logger)
        finally:  # Lightning's logger sets the address for the whole process, also for the next training
            mlflow.set_tracking_uri(environment)  # type: ignore[arg-type]
        if known:
            logger.experiment.update_run(known, status="RUNNING")
        write_json(state, {"tracking_uri": uri, "run_id": logger.run_id})
        return logger

    def write_config(self, config: dict[str, Any], *, multilabel: bool) -> None:
        """Log the configuration as a file and as parameters, except parameters that a continued run already has."""
        known = self.backend.experiment.get_run(self.backend.run_id).data.params
        values = {_key(name): value for name, value in flat(config).items()}
        self.backend.log_hyperparams({name: value for name, value in values.items() if name not in known})
        self.backend.experiment.log_artifact(self.backend.run_id, str(self.folder.config))

    def write_row(self, row: Row) -> None:
        """Buffer a row; send all rows when the epoch has ended."""
        now = int(time.time() * 1000)
        self._waiting += [(_key(name), value, now, x) for name, value, x in row.points()]
        if row.of_epoch:
            self._send(self.backend)

    def write_summary(self, values: Mapping[str, Any], epoch: int) -> None:
        """Log the numbers among the values as ``results/...``."""
        super().write_summary({_key(name): value for name, value in values.items()}, epoch)

    def write_files(self, paths: Sequence[Path]) -> None:
        """Store files as the artifact ``run``."""
        for path in paths:
            place = Path("run", path.relative_to(self.folder.path).parent).as_posix()
            self.backend.experiment.log_artifact(self.backend.run_id, str(path), place)

    def close(self, backend: Any, exit_code: int) -> None:
        """Send the remaining rows and the status."""
        self._send(backend)
        backend.finalize({0: "success", 130: "KILLED", 143: "KILLED"}.get(exit_code, "failed"))

    def _send(self, backend: Any) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(self._waiting), MAX_METRICS_PER_REQUEST):
            metrics = [Metric(*point) for point in self._waiting[start : start + MAX_METRICS_PER_REQUEST]]
            backend.experiment.log_batch(backend.run_id, metrics=metrics)
        self._waiting.clear()


def _begin(logger: MLFlowLogger) -> None:
    """Create the experiment and the run; another run on the server may create the experiment at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        _ = logger.experiment
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        _ = logger.experiment


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Lock out other runs that begin in the same database file: two that create its tables at once fail."""
    path = Path(uri.partition(":///")[2].partition("?")[0])
    if not uri.startswith("sqlite:///") or not path.name:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=SECONDS_TO_BEGIN):
        yield


def _key(name: str) -> str:
    """Replace the characters that MLflow does not allow in names."""
    return re.sub(r"[^\w/. -]", "_", name)
