"""Licences of models: identifiers of the hub, and conflicts with the licences of published weights."""

import pytest

from audio_lightning.config import check_config, compose
from audio_lightning.config.licences import IDENTIFIERS, Licence, conflicts, licence_of, restriction
from audio_lightning.core.errors import ConfigError

LINK = "card.license_link=https://example.org/licence"


@pytest.mark.parametrize("identifier", sorted(IDENTIFIERS - {"other"}))
def test_identifiers_of_the_hub_are_accepted(identifier: str) -> None:
    assert licence_of({"card": {"license": identifier}}) == Licence(identifier)


def test_licence_of_a_configuration() -> None:
    check_config(config := compose(["card.license=cc-by-4.0"]))
    assert licence_of(config) == Licence("cc-by-4.0")
    check_config(config := compose(["card.license=other", "card.license_name=Lab licence", LINK]))
    stated = licence_of(config)
    assert stated is not None
    assert str(stated) == "Lab licence (https://example.org/licence)"
    assert list(stated.to_header()) == ["license", "license_name", "license_link"]
    assert licence_of(compose([])) is None
    assert licence_of({}) is None  # of a run before this key existed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["card.license=MIT"], r"^card\.license=MIT: no licence of the Hugging Face hub; did you mean mit\?$"),
        (["card.license=Apache2"], r"^card\.license=Apache2: .*; did you mean apache-2\.0\?$"),
        (
            ["card.license=qqqq"],
            r"^card\.license=qqqq: .* hub; expected one of https://huggingface\.co/docs/hub/\S+ or",
        ),
        (["card.license=4"], r"^card\.license=4: no licence of the Hugging Face hub"),
        (["card.license=other"], r"^card\.license=other: needs the name and the link .*; give card\.license_name and "),
        (["card.license=other", "card.license_name=a"], r"^card\.license=other: needs the name and the link"),
        (["card.license=other", "card.license_name=' '", LINK], r"^card\.license=other: needs the name and the link"),
        (["card.license=mit", "card.license_name=a"], r"^card\.license_name: only for card\.license=other"),
        ([LINK], r"^card\.license_link: only for card\.license=other"),
        (["card=mit"], r"card"),
    ],
)
def test_invalid_licences_are_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_config(compose(overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("licence", "forbidden"),
    [
        ("CC BY-NC 4.0", "commercial use"),
        ("cc-by-nc-nd-4.0", "commercial use and derived works"),
        ("cc-by-4.0, cc-by-nc-4.0", "commercial use"),
        ("CC BY-ND 4.0", "derived works"),
        ("fair-noncommercial-research-license", "commercial use"),
        ("apple-amlr", "commercial use"),
        ("MIT", None),
        ("Apache 2.0", None),
        ("CC BY-SA 4.0", None),
        ("ncsa", None),
        ("that of https://huggingface.co/facebook/wav2vec2-base", None),
    ],
)
def test_restrictions(licence: str, forbidden: str | None) -> None:
    assert restriction(licence) == forbidden


@pytest.mark.parametrize(
    ("licence", "of_weights", "conflict"),
    [
        ("mit", "CC BY-NC 4.0", True),
        ("cc-by-nc-4.0", "CC BY-NC 4.0", False),
        ("cc-by-nc-4.0", "CC BY-NC-ND 4.0", True),
        ("mit", "Apache 2.0", False),
        ("unknown", "CC BY-NC 4.0", False),
        (None, "CC BY-NC 4.0", False),
    ],
)
def test_conflicts_with_the_licences_of_weights(licence: str | None, of_weights: str, conflict: bool) -> None:
    found = conflicts(None if licence is None else Licence(licence), [("a network", of_weights)])
    assert len(found) == conflict
    if found:
        assert f"licence is {licence}, but it began with a network, whose licence {of_weights} forbids" in found[0]
