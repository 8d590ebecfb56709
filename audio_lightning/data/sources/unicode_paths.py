"""Paths in the Unicode form of the files on disk: macOS once wrote names decomposed, most tables are composed."""

import os
from pathlib import Path
from unicodedata import normalize

import pandas as pd


def as_on_disk(root: Path, paths: pd.Series) -> pd.Series:
    """Replace the names in paths by those of the files whose names are equal in Unicode NFC.

    A name that is there as it is written stays, and so does one that is not there at all.

    Args:
        root: folder that relative paths begin at.
        paths: with forward slashes.
    """
    if all(map(str.isascii, paths)):
        return paths
    listings: dict[str, dict[str, str]] = {}

    def listing(folder: str) -> dict[str, str]:
        """Names in a folder, by themselves and by their composed form."""
        if folder not in listings:
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            listings[folder] = {normalize("NFC", name): name for name in sorted(names)} | {name: name for name in names}
        return listings[folder]

    def found(path: str) -> str:
        if path.isascii() or path.startswith("../"):  # what is outside of the root is not looked at
            return path
        folder, parts = ("/" if path.startswith("/") else f"{root}/"), list[str]()
        for part in path.split("/"):
            known = {} if part.isascii() else listing(folder)
            parts.append(known.get(part) or known.get(normalize("NFC", part)) or part)
            folder = f"{folder}{parts[-1]}/"
        return "/".join(parts)

    return paths.map(found).astype(object)
