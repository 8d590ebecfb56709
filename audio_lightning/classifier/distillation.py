"""Knowledge distillation (Hinton, Vinyals and Dean 2015, arXiv 1503.02531): settings, and checks of the teacher's file.

The targets of a training contain the probabilities of a trained classifier, the teacher. Beyer et al. 2022 (arXiv
2106.05237) find that teacher and student must get the same augmented input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from audio_lightning.classifier.artifacts import ARTIFACT, artifact_folder
from audio_lightning.classifier.checkpoint import check_checkpoint, is_ensemble, read_contents
from audio_lightning.classifier.ensemble_file import check_contents, required_clips
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import as_yaml, shortened
from audio_lightning.core.task import AudioTask
from audio_lightning.run_folder import MODEL, find_checkpoint

TEACHER = "teacher"
"""Key in a checkpoint: SHA-256 of the teacher's file, in hexadecimal; missing without a teacher."""

OF_RECORDINGS = ("classes", "number of labels of a clip")
"""Values of :func:`required_clips` that are not known before the recordings are read."""

WINDOWS = "data.hop_seconds"
"""Value of :func:`required_clips` in which teacher and student may differ: it does not change a clip."""


@dataclass(frozen=True)
class Distillation:
    """Settings of a distillation.

    Attributes:
        teacher: folder, file or artifact of the teacher, as in ``distill.teacher``.
        weight: share of the teacher's probabilities in the targets, more than 0 and at most 1.
    """

    teacher: str
    weight: float

    @property
    def name(self) -> str:
        """Name of the teacher without its place: the last name of its run or fit, or that of the file or artifact."""
        path = PurePath(self.teacher)
        if path.suffix == ".ckpt" and path.parent.name == "checkpoints":
            path = path.parent.parent
        elif path.name == MODEL:
            path = path.parent
        return path.name or "a classifier"

    @property
    def checkpoint(self) -> Path:
        """Checkpoint of the teacher: the file itself, the best one of a run, or the classifier of a fit.

        Raises:
            ConfigError: there is none.
        """
        where = f"distill.teacher={self.teacher}"
        if self.teacher.startswith("hf://"):
            raise ConfigError(f"{where}: download the model first, and give its folder or checkpoint")
        if self.teacher.startswith(ARTIFACT):
            path = artifact_folder(self.teacher, "distill.teacher")
        else:
            path = Path(self.teacher).expanduser()
        try:
            return find_checkpoint(path)
        except CheckpointError as error:
            raise ConfigError(
                f"{where} is not a trained classifier ({error}); give the folder of a run or of a fit, or a checkpoint"
            ) from error


def distillation(config: Mapping[str, Any]) -> Distillation | None:
    """Return the settings of a distillation; None without a teacher, or with weight 0, which makes it useless.

    Args:
        config: configuration of a training; one of an earlier version has no node ``distill``.

    Raises:
        ConfigError: an invalid value.
    """
    node = config.get("distill") or {}
    if not isinstance(node, Mapping):
        raise ConfigError(f"distill={shortened(node)}: expected its keys, as in distill.teacher=RUN_DIR")
    teacher = node.get("teacher")
    if teacher is None:
        return None
    weight = node.get("weight")
    if not isinstance(teacher, str) or not teacher:
        raise ConfigError(f"distill.teacher={shortened(teacher)}: expected a folder, a checkpoint or null")
    if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 <= weight <= 1:
        raise ConfigError(f"distill.weight={as_yaml(weight)}: expected a number, 0 to 1")
    return Distillation(teacher, float(weight)) if weight else None


def check_teacher(config: Mapping[str, Any], task: AudioTask) -> None:
    """Check the file of the teacher before recordings are read; do nothing without one.

    Args:
        config: configuration of the training.
        task: task of the training; its classes are not compared, see :func:`check_alike`.

    Raises:
        CheckpointError: the file is damaged, or contains anything but a classifier of this program.
        ConfigError: there is no such file, or the teacher needs other clips.
    """
    if (settings := distillation(config)) is None:
        return
    path = settings.checkpoint
    contents, where = read_contents(path), str(path)
    if is_ensemble(contents):
        member = check_contents(contents, where=where).members[0]
    else:
        member = check_checkpoint(contents, where=where)
    try:
        parameters = member["hyper_parameters"]
        found = AudioTask.from_dict(parameters["task"]), dict(parameters["config"]["data"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{where} does not describe its predictions ({type(error).__name__}); use another checkpoint"
        ) from error
    check_alike(settings, found, (task, config["data"]), ignore=OF_RECORDINGS)


def check_alike(
    settings: Distillation,
    teacher: tuple[AudioTask, Mapping[str, Any]],
    student: tuple[AudioTask, Mapping[str, Any]],
    *,
    ignore: tuple[str, ...] = (),
) -> None:
    """Check that teacher and student have the same classes in the same order, and get the same clips.

    Args:
        settings: settings of the distillation, for messages.
        teacher: task of the teacher, and ``data`` of its configuration.
        student: the same of the student.
        ignore: names of values that are not compared.

    Raises:
        ConfigError: they do not.
    """
    wanted, given = required_clips(*teacher), required_clips(*student)
    for key in wanted:
        if key in (WINDOWS, *ignore) or wanted[key] == given[key]:
            continue
        values = f"{_text(wanted[key])} for the teacher, and {_text(given[key])} in this training"
        remedy = "train the teacher on this data, or choose another teacher"
        if key.startswith("data."):
            value = f"{teacher[0].clip_seconds:g}" if key == "data.clip_seconds" else wanted[key]
            remedy = f"set {key}={value}, or choose another teacher"
        raise ConfigError(f"distill.teacher={settings.teacher}: {key}: {values}; {remedy}")


def _text(value: Any) -> str:
    return shortened(", ".join(map(str, value)) if isinstance(value, tuple) else str(value), 200)
