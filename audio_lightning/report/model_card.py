"""Model card ``MODEL_CARD.md``: architecture, data, results, usage and limits of a classifier.

The card follows Mitchell et al., "Model Cards for Model Reporting" (2019). Its YAML header has the format of the
Hugging Face hub (``ModelCardData`` and ``EvalResult`` of huggingface_hub), so that it can be the ``README.md`` of a
model there. Text from data, checkpoints and folders is escaped, and paths are reduced to their last name.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from audio_lightning import __version__
from audio_lightning.core.files import write_text
from audio_lightning.report.card_contents import OWNER_AND_NAME, card_contents
from audio_lightning.run_folder import RunFolder, find_checkpoint

FEW_CLIPS, MOST_NAMED = 50, 20
"""Number of training clips below which a class is named among the limits, and largest number of classes named."""

HUB_METRICS = {"f1_macro": "f1", "f1_micro": "f1"}
"""Metric names of the hub that differ from the names in ``metrics.json``."""

LEAKAGE = {
    "none found": "Groups (source recordings, speakers, notes) and the audio of all clips were compared: no group "
    "and no audio is in more than one split.",
    "cannot be excluded": "No audio is in more than one split. The data names no groups (source recordings, speakers), "
    "so clips of one source may be in several splits, and the figures may be optimistic.",
    "present": "Some groups or recordings are in more than one split, so the figures are optimistic.",
}
"""Statement for each value of ``leakage`` in ``metrics.json``."""

SPECIAL = re.compile(r"([\\`*\[\]<>|#~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""Special characters of Markdown, HTML and tables; an underscore within a word is not one."""

PLACE = re.compile(r"(?<![\w/:.])~?/(?:[^\s,;:()'\"/]+/)*([^\s,;:()'\"/]+)")
"""Absolute path in a sentence; the group of the expression is its last name."""


def write_model_card(folder: Path) -> Path:
    """Write ``MODEL_CARD.md`` into the folder of a finished run or fit.

    Raises:
        CheckpointError: the folder has no checkpoint, or a damaged one.
        FileError: another file of the folder is damaged.
    """
    card = RunFolder(folder).card  # the folder of a fit has the same name for it
    write_text(card, model_card(find_checkpoint(folder)))
    return card


@contextmanager
def card_renewed(folder: Path) -> Iterator[None]:
    """Update the card of a run or a fit after the ``with`` block changed its folder, unless the card was edited.

    Raises:
        CheckpointError, FileError: see :func:`write_model_card`.
    """
    card = RunFolder(folder).card
    unedited = card.is_file() and card.read_text(encoding="utf-8") == model_card(find_checkpoint(folder))
    yield
    if unedited:
        write_model_card(folder)


def model_card(checkpoint: Path) -> str:
    """Return the model card of a checkpoint, including results in the folder of its run or fit.

    Raises:
        CheckpointError, FileError: see :func:`audio_lightning.report.card_contents.card_contents`.
    """
    values = card_contents(checkpoint)
    return _header(values) + _rendered(values)


def _header(values: Mapping[str, Any]) -> str:
    """YAML header with the metadata of the hub."""
    results = [
        {
            "type": HUB_METRICS.get(figure.name, figure.name),
            "value": round(figure.value, 4),
            "name": _words(figure.name),
        }
        for figure in values["figures"]
        if values["tested"] != "validation"
    ]
    dataset = {
        "type": re.sub(r"[^\w.-]+", "-", values["dataset"]),
        "name": values["dataset"],
        "split": values["tested"],
    }
    bases = [found.name for found in values["weights"] if OWNER_AND_NAME.fullmatch(found.name)]
    header = {
        "library_name": "audio-lightning",
        "pipeline_tag": "audio-classification",
        "tags": ["audio", "audio-classification", "pytorch", "lightning"],
        **({"base_model": bases} if bases else {}),
        **({"metrics": list(dict.fromkeys(result["type"] for result in results))} if results else {}),
    }
    if results:
        task = {"type": "audio-classification", "name": "Audio classification"}
        tested = {"task": task, "dataset": dataset, "metrics": results}
        header["model-index"] = [{"name": _title(values), "results": [tested]}]
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n"


def _rendered(values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: _escaped(value) if isinstance(value, str) else value,
    )
    environment.filters |= {"words": _words, "number": "{:,}".format, "cell": _cell, "placeless": _placeless}
    text = environment.get_template("model_card.md.j2").render(
        values,
        title=_title(values),
        leakage=LEAKAGE,
        few=[name for name, count, *_ in values["classes"] if count < FEW_CLIPS],
        few_clips=FEW_CLIPS,
        most_named=MOST_NAMED,
        version=__version__,
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _title(values: Mapping[str, Any]) -> str:
    several = values["num_members"] > 1
    network = f"ensemble of {values['num_members']} networks" if several else values["networks"][0]
    return f"{values['dataset']}: {network}"


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _placeless(text: str) -> str:
    """The text with each absolute path reduced to its last name."""
    return PLACE.sub(r"\1", text)


def _cell(value: Any) -> str:
    """Table cell of a value: three decimals for fractions, none for counts, empty for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _escaped(text: str) -> str:
    """Text on one line with the special characters of Markdown escaped."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return SPECIAL.sub(r"\\\1", line).replace("\\<", "&lt;").replace("\\>", "&gt;")
