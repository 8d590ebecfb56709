"""The navigation: the pages that exist, in a fixed order."""

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

ORDER: dict[str, Any] = {
    "Home": "index.md",
    "Start": ["start/install.md", "start/own-folder.md", "notebooks/first_steps.md"],
    "Tutorials": [
        "tutorials/environmental-sound.md", "tutorials/keywords.md", "tutorials/instruments.md", "tutorials/birds.md",
        "tutorials/transfer.md", "tutorials/sweeps.md", "tutorials/phone.md",
    ],
    "How-to": {
        "Data": [
            "how-to/known-data-sets.md", "how-to/annotations.md", "how-to/long-recordings.md",
            "how-to/several-labels.md", "how-to/imbalance.md", "how-to/augmentation.md",
        ],
        "Choosing": [
            "how-to/fit.md", "how-to/choosing-a-feature.md", "how-to/recipes.md", "how-to/published.md",
            "how-to/k-fold.md", "how-to/search.md",
        ],
        "Training": [
            "how-to/training-options.md", "how-to/faster-training.md", "how-to/distillation.md", "how-to/resume.md",
            "how-to/debugging.md",
        ],
        "Your own code": ["how-to/own-model.md", "how-to/own-loss.md", "how-to/extending.md"],
        "Loggers, clusters, GPUs": [
            "how-to/wandb.md", "how-to/ray.md", "how-to/slurm.md", "how-to/clusters.md", "how-to/gpu.md",
        ],
        "Using a classifier": [
            "how-to/predict.md", "how-to/detect.md", "how-to/confidence.md", "how-to/explain.md",
            "how-to/robustness.md", "how-to/suggest.md", "how-to/export.md", "how-to/sharing.md",
        ],
    },
    "Concepts": [
        "concepts/data-flow.md", "concepts/honest-figures.md", "concepts/identity-and-cache.md", "concepts/trust.md",
    ],
    "Reference": {
        "": [
            "reference/commands.md", "reference/catalog.md", "reference/files.md", "reference/messages.md",
            "reference/glossary.md", "reference/releases.md", "reference/changelog.md", "reference/contributing.md",
        ],
        "Configuration": [("All groups", "reference/configuration.md"), "reference/configuration/"],
        "Python API": ["reference/api/index.md", "reference/api/"],
    },
    "Benchmarks": ["benchmarks/index.md", "benchmarks/", "seeds.md"],
}  # fmt: skip
"""Sections; a pair is a title and a page, and a name that ends in a slash stands for all other pages of that folder."""

FOLDERS = {"start": "Start", "tutorials": "Tutorials", "notebooks": "Start", "how-to": "How-to", "concepts": "Concepts"}
"""By folder, the section of pages that :data:`ORDER` does not name."""


SHORT = ("reference/configuration/",)
"""Folders whose pages have the names of their files in the navigation, and longer headings."""


def navigation(pages: Collection[str]) -> list[Any]:
    """Return the ``nav`` of MkDocs for the pages that exist.

    Args:
        pages: paths below the documentation folder.
    """
    left = set(pages)
    named = set(_named(ORDER))
    sections: list[Any] = []
    for title, content in ORDER.items():
        found = _section(content, left, named)
        found += sorted(page for page in left if FOLDERS.get(page.partition("/")[0]) == title and page not in named)
        if found:
            sections.append({title: found if not isinstance(content, str) else found[0]})
    return sections


def _section(content: Any, pages: Collection[str], named: Collection[str]) -> list[Any]:
    if isinstance(content, dict):
        found: list[Any] = []
        for title, inside in content.items():
            entries = _section(inside, pages, named)
            found += entries if not title else [{title: entries}] if entries else []
        return found
    found = []
    for entry in [content] if isinstance(content, str) else content:
        title, name = entry if isinstance(entry, tuple) else ("", entry)
        if name.endswith("/"):
            inside = sorted(page for page in pages if page.startswith(name) and page not in named)
            found += [{PurePosixPath(page).stem: page} for page in inside] if name in SHORT else inside
        elif name in pages:
            found.append({title: name} if title else name)
    return found


def _named(content: Any) -> Iterable[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, tuple):
        yield content[1]
    else:
        for inside in content.values() if isinstance(content, dict) else content:
            yield from _named(inside)
