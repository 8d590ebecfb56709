"""Licence of a trained model, by the identifiers of the Hugging Face hub."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import shortened

OTHER: Final = "other"
"""Identifier of a licence that the hub does not list; it needs a name and a link."""

# fmt: off
IDENTIFIERS: Final = frozenset(
    [
        "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m",
        "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause",
        "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
        "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
        "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m",
        "deepfloyd-if-license", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2",
        "fair-noncommercial-research-license", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "grok2-community",
        "h-research", "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "llama2", "llama3",
        "llama3.1", "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl",
        "odc-by", "ofl-1.1", "openmdw-1.0", "openrail", "openrail++", "osl-3.0", "other", "pddl", "postgresql",
        "unknown", "unlicense", "wtfpl", "zlib",
    ]
)
# fmt: on
"""Licence identifiers of https://huggingface.co/docs/hub/repositories-licenses."""

KEYS: Final = ("license", "license_name", "license_link")
"""Keys of ``card`` in the configuration, and of the header of a model card on the hub."""

NON_COMMERCIAL: Final = re.compile(
    r"\bnc\b|non-?commercial|apple amlr|intel research|\bh research|deepfloyd|research[- ]only", re.IGNORECASE
)
NO_DERIVATIVES: Final = re.compile(r"\bnd\b|no-?derivatives", re.IGNORECASE)

LONGEST: Final = 200
"""Maximum number of characters of the name and the link of a licence."""


@dataclass(frozen=True)
class Licence:
    """Licence of a model, as the header of its card states it.

    Attributes:
        identifier: one of :data:`IDENTIFIERS`.
        name, link: name of the licence, and its address or file; only for :data:`OTHER`.
    """

    identifier: str
    name: str | None = None
    link: str | None = None

    def to_header(self) -> dict[str, str]:
        """Return the entries of the header of a card."""
        found = dict(zip(KEYS, (self.identifier, self.name, self.link)))
        return {key: value for key, value in found.items() if value is not None}

    def __str__(self) -> str:
        """Return the identifier, or name and link of another licence."""
        return self.identifier if self.identifier != OTHER else f"{self.name} ({self.link})"


def make_licence(
    identifier: object, name: object = None, link: object = None, *, options: tuple[str, str, str]
) -> Licence | None:
    """Check the licence of a model; return None if none is stated.

    Args:
        identifier: identifier of the hub, or None.
        name: name of a licence that the hub does not list; None otherwise.
        link: address or file of that licence; None otherwise.
        options: options that hold the three values, for messages.

    Raises:
        ConfigError: an unknown identifier, or a name and a link that are missing or superfluous.
    """
    of_identifier, of_name, of_link = options
    described = [(of_name, name), (of_link, link)]
    given = [option for option, value in described if value is not None]
    if given and identifier != OTHER:
        raise ConfigError(
            f"{given[0]}: only for {of_identifier}={OTHER}, a licence that the hub does not list; remove it"
        )
    if identifier is None:
        return None
    if not isinstance(identifier, str) or identifier not in IDENTIFIERS:
        near = did_you_mean(re.sub(r"[\s_]+", "-", str(identifier).strip().lower()), IDENTIFIERS)
        raise ConfigError(
            f"{of_identifier}={shortened(identifier)}: no licence of the Hugging Face hub{near or '; '}"
            f"{'' if near else 'expected one of https://huggingface.co/docs/hub/repositories-licenses, or other'}"
        )
    if identifier != OTHER:
        return Licence(identifier)
    for _, value in described:
        if not isinstance(value, str) or not 0 < len(value.strip()) <= LONGEST or not value.isprintable():
            raise ConfigError(
                f"{of_identifier}={OTHER}: needs the name and the link of the licence, texts of at most {LONGEST} "
                f"characters; give {of_name} and {of_link}"
            )
    return Licence(OTHER, str(name).strip(), str(link).strip())


def licence_of(config: Mapping[str, Any]) -> Licence | None:
    """Return the licence that a configuration states in ``card``, or None; configurations of old runs have no ``card``.

    Raises:
        ConfigError: see :func:`make_licence`.
    """
    node = config.get("card")
    if node is None:
        return None
    if not isinstance(node, Mapping):
        raise ConfigError(f"card={shortened(node)}: expected the keys {', '.join(KEYS)}, such as card.license=mit")
    values = [node.get(key) for key in KEYS]
    return make_licence(*values, options=tuple(f"card.{key}" for key in KEYS))  # type: ignore[arg-type]


def restriction(licence: str) -> str | None:
    """Return what a licence forbids, by its name or identifier: commercial use, derived works; None if neither."""
    words = re.sub(r"[\s_-]+", " ", licence)
    found = [
        what
        for pattern, what in ((NON_COMMERCIAL, "commercial use"), (NO_DERIVATIVES, "derived works"))
        if pattern.search(words) or pattern.search(licence)
    ]
    return " and ".join(found) or None


def conflicts(licence: Licence | None, weights: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence for each licence of published weights that forbids more than the licence of the model.

    Args:
        licence: licence of the model. A licence that the hub does not list is not compared.
        weights: name and licence of the weights from which the training started.
    """
    if licence is None or licence.identifier in (OTHER, "unknown"):
        return []
    allowed = restriction(licence.identifier) or ""
    return [
        f"the model's licence is {licence}, but it began with {name}, whose licence {of_weights} forbids {forbidden}; "
        "state a licence that forbids it, too, or ask their authors"
        for name, of_weights in weights
        if (forbidden := restriction(of_weights)) and not all(part in allowed for part in forbidden.split(" and "))
    ]
