"""Search for recordings in the folders of a manifest's recordings that the manifest does not list."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from audio_lightning.audio import Finder
from audio_lightning.data.manifest import Manifest


def unlisted(
    manifest: Manifest, ignore: Sequence[str] = (), *, outside: bool = True
) -> Iterator[tuple[str, str | None]]:
    """Find recordings in the folders of the listed recordings, and below, that are not listed.

    Every folder is read once, and no file is opened.

    Args:
        manifest: the listed recordings.
        ignore: patterns of names to ignore, see :class:`audio_lightning.audio.Finder`.
        outside: also search folders outside of the manifest's root.

    Yields:
        The path of a recording, relative to the root, and None; or a folder and the reason why it cannot be read.
    """
    listed = set(manifest.table["path"])
    folders = {PurePosixPath(folder) for folder in {path.rpartition("/")[0] for path in listed}}
    if not outside:
        folders = {folder for folder in folders if not folder.is_absolute()}
    finder = Finder(manifest.root, ignore)
    # Folders inside others are searched together with these.
    for top in sorted(folder for folder in folders if folders.isdisjoint(folder.parents)):
        if (manifest.root / top).is_dir():
            below = "" if str(top) == "." else f"{str(top).rstrip('/')}/"
            try:
                found = finder.recordings(below)
            except OSError as error:
                reason = f"cannot be read ({error.strerror or error}); unlisted recordings in it are not reported"
                yield str(error.filename), reason
                continue
            for path in found:
                if path not in listed:
                    yield path, None
