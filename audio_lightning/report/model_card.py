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
from audio_lightning.classifier.published import OWNER_AND_NAME
from audio_lightning.config.licences import KEYS, Licence, conflicts, restriction
from audio_lightning.core.errors import FileError
from audio_lightning.core.files import write_text
from audio_lightning.core.messages import print_and_log
from audio_lightning.report.card_contents import card_contents
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

HEADER = re.compile(r"---[ \t]*\r?\n(?P<entries>.*?)^---(?=[ \t]*\r?$)", re.DOTALL | re.MULTILINE)
"""YAML header of a card."""

PLACE = re.compile(r"(?<![\w/:.])~?/(?:[^\s,;:()'\"/]+/)*([^\s,;:()'\"/]+)")
"""Absolute path in a sentence; the group of the expression is its last name."""


def write_model_card(folder: Path) -> Path:
    """Write ``MODEL_CARD.md`` into the folder of a finished run or fit.

    Raises:
        CheckpointError: the folder has no checkpoint, or a damaged one.
        FileError: another file of the folder is damaged.
    """
    card = RunFolder(folder).card  # the folder of a fit has the same name for it
    values = card_contents(find_checkpoint(folder))
    write_text(card, _card(values))
    for conflict in _conflicts(values):
        print_and_log(f"warning: card.license: {conflict}")
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
    return _card(card_contents(checkpoint))


def shared_card(checkpoint: Path, edited: str | None, licence: Licence | None) -> tuple[str, list[str]]:
    """Return the card of a checkpoint to upload, and a sentence for each conflict with the licences of its weights.

    Args:
        checkpoint: checkpoint file.
        edited: card in the folder of its run or fit, which the user may have edited; None if there is none.
        licence: licence of the model; None for the one in the configuration of the training.

    Raises:
        CheckpointError, FileError: see :func:`audio_lightning.report.card_contents.card_contents`.
        FileError: a licence for an edited card without a header.
    """
    values = card_contents(checkpoint)
    text = _card(values) if edited is None else edited
    if licence is not None:
        generated = edited is None or edited == _card(values)
        values = {**values, "licence": licence}
        text = _card(values) if generated else _with_licence(text, licence)
    return text, _conflicts(values)


def _card(values: Mapping[str, Any]) -> str:
    return _header(values) + _rendered(values)


def _conflicts(values: Mapping[str, Any]) -> list[str]:
    return conflicts(values["licence"], [(found.name, found.licence) for found in values["weights"]])


def _with_licence(card: str, licence: Licence) -> str:
    """Replace the licence in the header of an edited card; the rest of it is kept as it is.

    Raises:
        FileError: the card has no header.
    """
    found = HEADER.match(card)
    if found is None:
        raise FileError(
            f"{RunFolder(Path()).card.name}: has no header, which states the licence, between two lines of ---; add "
            "one, or remove the file, so that it is written again"
        )
    kept, own = [], False
    for line in found["entries"].splitlines(keepends=True):
        if not line.startswith((" ", "-")):  # otherwise a continuation of the entry above
            own = line.partition(":")[0] in KEYS
        kept += [] if own else [line]
    header = yaml.safe_dump(licence.to_header(), sort_keys=False, allow_unicode=True)
    return f"---\n{header}{''.join(kept)}---{card[found.end() :]}"


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
        **({} if values["licence"] is None else values["licence"].to_header()),
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
    environment.filters |= {
        "words": _words,
        "number": "{:,}".format,
        "cell": _cell,
        "placeless": _placeless,
        "restriction": restriction,
    }
    text = environment.get_template("model_card.md.j2").render(
        values,
        title=_title(values),
        leakage=LEAKAGE,
        few=[name for name, count, *_ in values["classes"] if count < FEW_CLIPS],
        few_clips=FEW_CLIPS,
        most_named=MOST_NAMED,
        version=__version__,
        conflicts=_conflicts(values),
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
