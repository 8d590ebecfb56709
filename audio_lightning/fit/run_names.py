"""Names of a fit's trainings in W&B, TensorBoard and MLflow."""

import re
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, open_dict


def name_run(config: DictConfig, fit: Path, training: str, typed: Iterable[str], job_type: str = "trial") -> None:
    """Name the run of a training in every logger, and group it with the other runs of its fit.

    The fit is the group in W&B and the experiment in MLflow; in TensorBoard, the folder of the event files gets the
    name of the training. Names that are set by overrides are kept. Models of trainings are not linked to a registry.

    Args:
        config: configuration of the training, changed in place.
        fit: folder of the fit, whose name is the name of the fit.
        training: name of the run, such as ``logmel fold=1``.
        typed: overrides of all trainings.
        job_type: kind of the run within the group.
    """
    known = {line.partition("=")[0].lstrip("+") for line in typed}
    names = {
        "WandbLogger": {"group": fit.absolute().name, "job_type": job_type, "name": training},
        "MlflowLogger": {"experiment_name": fit.absolute().name, "run_name": training},
        "TensorBoardLogger": {"name": re.sub(r"[^\w.-]+", "-", training)},
    }
    for logger, node in config.logger.items():
        if node is None or not str(node.get("_target_")).startswith("audio_lightning."):
            continue
        with open_dict(node):
            if job_type == "trial" and "registry" in node:  # only the answer of the fit is linked
                node["registry"] = None
            for key, value in names.get(str(node["_target_"]).rpartition(".")[2], {}).items():
                if f"logger.{logger}.{key}" not in known:
                    node[key] = value
