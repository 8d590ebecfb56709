"""Recordings that lie beside those of a manifest, but are not among them."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from audio_lightning.audio import Finder
from audio_lightning.data.manifest import Manifest


def unlisted(
    manifest: Manifest, ignore: Sequence[str] = (), *, outside: bool = True
) -> Iterator[tuple[str, str | None]]:
    """Recordings in the folders of the listed recordings, and below them, that are not listed.

    Every folder is read once, and no file is opened.

    Args:
        manifest: of the listed ones.
        ignore: patterns of names to pass over, see :class:`audio_lightning.audio.Finder`.
        outside: look into folders outside of the manifest's root, too.

    Yields:
        The path of a recording, relative to the root, and None; or a folder and why it cannot be read.
    """
    listed = set(manifest.table["path"])
    folders = {PurePosixPath(folder) for folder in {path.rpartition("/")[0] for path in listed}}
    if not outside:
        folders = {folder for folder in folders if not folder.is_absolute()}
    finder = Finder(manifest.root, ignore)
    # Folders within others are come upon there.
    for top in sorted(folder for folder in folders if folders.isdisjoint(folder.parents)):
        if (manifest.root / top).is_dir():
            below = "" if str(top) == "." else f"{str(top).rstrip('/')}/"
            try:
                found = finder.recordings(below)
            except OSError as error:
                reason = f"cannot be read ({error.strerror or error}), so unlisted recordings are not searched for"
                yield str(error.filename), reason
                continue
            for path in found:
                if path not in listed:
                    yield path, None
