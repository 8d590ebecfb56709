"""Checks of output files and folders before the work begins, which may take hours.

No command overwrites its inputs, a recording, or the results of a run, a fit or a sweep.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import OWNERS, is_stream, owner_of

DEPTH = 3
"""Number of folders above a file that are searched for the run, fit or sweep that wrote it."""


def require_writable(option: str, file: Path, inputs: Iterable[Path] = ()) -> None:
    """Check that a file can be written, and :func:`protect` what must not be overwritten.

    Args:
        option: name of the option, for the message.
        file: the file to write.
        inputs: files that the command reads.

    Raises:
        ConfigError: it cannot, or must not.
    """
    above = next(parent for parent in file.absolute().parents if parent.exists())
    if file.is_dir():
        raise ConfigError(f"{option} {file}: is a folder; give the name of a file")
    writable = os.access(file, os.W_OK) if is_stream(file) else above.is_dir() and os.access(above, os.W_OK)
    if not writable:
        raise ConfigError(f"{option} {file}: {above} is not writable; choose another folder")
    protect(option, [file], inputs)


def protect(option: str, files: Iterable[Path], inputs: Iterable[Path] = (), *, recordings: bool = True) -> None:
    """Check that files to write are no inputs, no recordings, and no files of a run, a fit or a sweep.

    Links are followed: another name of the same file is the same file. Files that do not exist and streams pass.

    Args:
        option: name of the option, for the message.
        files: the files to write.
        inputs: files that the command reads; folders and missing files are ignored.
        recordings: whether to refuse every existing recording; False for a command that writes recordings itself.

    Raises:
        ConfigError: one of them is.
    """
    existing = [(file, identity) for file in files if (identity := _identity(file)) is not None]
    if not existing:
        return
    read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    from audio_lightning.audio.formats import is_recording  # imports libsndfile

    for file, identity in existing:
        if identity in read:
            raise ConfigError(f"{option} {file}: would overwrite the input {read[identity]}; give another file")
        if recordings and is_recording(file):
            raise ConfigError(f"{option} {file}: would overwrite a recording; give another file")
        if (found := _owner_of_file(file)) is not None:
            kind, folder = found
            raise ConfigError(f"{option} {file}: would overwrite a file of the {kind} {folder}; give another file")


def named_files(overrides: Iterable[str]) -> Iterator[Path]:
    """Yield the files that overrides may name, such as ``data.table=clips.csv``: by path, and below ``data.root``."""
    values = dict(override.partition("=")[::2] for override in overrides)
    root = Path(values.get("data.root", "").strip("'\"")).expanduser()
    for value in values.values():
        for word in value.strip("{}[]").split(","):
            path = Path(word.rpartition(":")[2].strip(" '\"")).expanduser()
            yield from (path, root / path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a regular file, the same for all its names; None for anything else."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) and not is_stream(path) else None


def _owner_of_file(file: Path) -> tuple[str, Path] | None:
    """Return the kind and the folder of the run, fit or sweep that wrote a file; None if none did."""
    folders = [(kind, folder) for folder in file.absolute().parents[:DEPTH] if (kind := owner_of(folder)) is not None]
    if not folders:
        return None
    from audio_lightning.compare.fit_summary import FitFolder
    from audio_lightning.compare.trials import SweepFolder, TrialFolder
    from audio_lightning.run_folder import File, RunFolder

    classes = {"run": (RunFolder, TrialFolder), "fit": (FitFolder,), "sweep": (SweepFolder,)}
    for kind, folder in folders:
        values = [value for owner in classes[kind] for value in vars(owner).values()]
        names = {Path(value.name) for value in values if isinstance(value, File)} | set(map(Path, OWNERS[kind]))
        if file.absolute().relative_to(folder) in names:
            return kind, folder
    return None
