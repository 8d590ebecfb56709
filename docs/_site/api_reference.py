"""Pages of the Python API: directives for mkdocstrings, one section for each public module of a room."""

import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "audio_lightning"

ROOMS = {
    "models": ("Models", "Architectures: from a waveform or a spectrogram to logits.", ("models/*.py",)),
    "pretrained": ("Published networks", "Backbones with published weights.", ("models/pretrained/*.py",)),
    "features": ("Features", "Front ends: from a waveform `[batch, time]` to `[batch, channels, bins, frames]`.",
                 ("features/*.py",)),
    "augment": ("Augmentations", "Batch transforms of training clips.", ("augment/*.py",)),
    "losses": ("Losses", "From logits and targets to a loss for each clip.", ("losses/*.py",)),
    "metrics": ("Metrics", "Metrics of probabilities and targets.", ("metrics/*.py",)),
    "data": ("Data", "Data modules, manifests, splits, the cache and batches.", ("data/**/*.py",)),
    "classifier": ("Classifier", "The LightningModule and its optimizers, schedulers and calibration.",
                   ("classifier/*.py",)),
    "training": ("Training and callbacks", "From a configuration to a run folder.", ("training/*.py", "run_folder.py")),
    "loggers": ("Loggers", "TensorBoard, W&B, MLflow and CSV.", ("loggers/**/*.py",)),
    "inference": ("Inference and export", "From a checkpoint to predictions.", ("inference/**/*.py",)),
    "sweeps": ("Sweeps", "From a grid or a search to finished trials.", ("sweeps/**/*.py",)),
    "compare": ("Comparison", "From finished trials to a leaderboard.", ("compare/*.py",)),
    "fit": ("Plan and fit", "From recordings to a plan, and to a cross-validated ensemble.",
            ("planning/*.py", "fit/*.py")),
    "audio": ("Audio", "One recording: describe, decode, resample, cut into windows.", ("audio/*.py",)),
    "config": ("Configuration", "Compose, check and instantiate configurations.", ("config/*.py",)),
    "core": ("Core", "The task, shapes, errors and files.", ("core/*.py",)),
    "distributed": ("Distributed training", "Processes of one training on several devices.", ("distributed/*.py",)),
    "figures": ("Figures and reports", "Plots of results and HTML pages.", ("figures/*.py", "report/*.py")),
}  # fmt: skip
"""Page, title, description and modules of every room; the command line has a page of its own."""

OPTIONS = """    options:
      heading_level: 2
      show_root_heading: true
      show_root_toc_entry: true
"""


BEHIND = "---\nsearch:\n  boost: 0.5\n---\n\n"
"""Search results on these pages come after those on others."""


def pages() -> dict[str, str]:
    """Return the Markdown of all pages by their path below the documentation folder."""
    listed = "\n".join(f"* [{title}]({page}.md): {text}" for page, (title, text, _) in ROOMS.items())
    names = "\n".join(_directive(path) for path in exported())
    found = {"reference/api/index.md": f"{INTRODUCTION}\n{listed}\n\n## `import audio_lightning as al`\n\n{names}"}
    for page, (title, text, patterns) in ROOMS.items():
        sections = "\n".join(_directive(module) for module in modules(patterns))
        found[f"reference/api/{page}.md"] = f"{BEHIND}# {title}\n\n{text}\n\n{sections}"
    return found


INTRODUCTION = """# Python API

`import audio_lightning as al` offers in notebooks and programs what the commands do. Choices and keys are given as on
the command line: `al.train("model=resnet", "trainer.max_epochs=3")`. Errors of users are subclasses of
`audio_lightning.core.errors.UserError`.

The packages have pages of their own. You extend, or name in a `_target_`, classes of the first ten:
"""


def exported() -> list[str]:
    """Return the full paths of the names in ``audio_lightning.__all__``, in the order of their modules."""
    found = []
    for line in (PACKAGE / "api/__init__.py").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"from (audio_lightning\.api\.\w+) import (.+)", line):
            found += [f"{match[1]}.{name.strip()}" for name in match[2].split(",")]
    return found


def modules(patterns: tuple[str, ...]) -> Iterator[str]:
    """Yield the dotted names of public modules that define a public class or function, base classes first."""
    for pattern in patterns:
        for path in sorted(PACKAGE.glob(pattern), key=lambda path: (path.stem != "base", path)):
            public = re.search(r"^(?:class|def) [A-Za-z]", path.read_text(encoding="utf-8"), re.MULTILINE)
            if public and not path.stem.startswith("_"):
                yield ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _directive(identifier: str) -> str:
    return f"::: {identifier}\n{OPTIONS}"
