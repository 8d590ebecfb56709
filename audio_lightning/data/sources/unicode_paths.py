"""Conversion of paths to the Unicode form on disk: older macOS writes decomposed names, most tables composed ones."""

import os
from pathlib import Path
from unicodedata import normalize

import pandas as pd


def as_on_disk(root: Path, paths: pd.Series) -> pd.Series:
    """Replace names in paths by names on disk that are equal in Unicode NFC.

    A name that exists as written is kept, and so is a name that does not exist at all.

    Args:
        root: folder to which relative paths refer.
        paths: paths with forward slashes.
    """
    if all(map(str.isascii, paths)):
        return paths
    listings: dict[str, dict[str, str]] = {}

    def listing(folder: str) -> dict[str, str]:
        """Names in a folder, by their exact and by their composed form."""
        if folder not in listings:
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            listings[folder] = {normalize("NFC", name): name for name in sorted(names)} | {name: name for name in names}
        return listings[folder]

    def found(path: str) -> str:
        if path.isascii() or path.startswith("../"):  # folders outside of the root are not listed
            return path
        folder, parts = ("/" if path.startswith("/") else f"{root}/"), list[str]()
        for part in path.split("/"):
            known = {} if part.isascii() else listing(folder)
            parts.append(known.get(part) or known.get(normalize("NFC", part)) or part)
            folder = f"{folder}{parts[-1]}/"
        return "/".join(parts)

    return paths.map(found).astype(object)
