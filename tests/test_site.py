"""The generated pages of the site, its navigation, its links and its tables of figures."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import audio_lightning
from audio_lightning.config import renamed

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
sys.path.insert(0, str(DOCS / "_site"))

import api_reference  # noqa: E402
import catalog  # noqa: E402
import commands  # noqa: E402
import configuration  # noqa: E402
import markdown_text  # noqa: E402
import navigation  # noqa: E402
import notebooks  # noqa: E402
import releases  # noqa: E402
import results  # noqa: E402

YAMLS = sorted(path for path in (PROJECT / "conf").rglob("*.yaml") if path.name != "wandb_sweep.yaml")
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_site" not in path.parts)
SOURCES = [*PAGES, *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
RESULTS = sorted(results.RESULTS.glob("*.csv"))
GENERATED = {
    *(f"reference/configuration/{group}.md" for group in configuration.GROUPS),
    *api_reference.pages(),
    *(f"reference/{name}.md" for name in ("commands", "configuration", "catalog", "changelog", "contributing")),
}
DIRECTIVE = re.compile(r'^\{\{ (?:table|curves)\("([\w-]+)"\) \}\}$', re.MULTILINE)


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PROJECT)) for path in paths]


@pytest.mark.parametrize("path", RESULTS, ids=[path.stem for path in RESULTS])
def test_a_result_file_states_where_its_figures_come_from(path: Path) -> None:
    rows = results.read(path.stem)
    assert rows
    assert all(row[column].strip() for row in rows for column in results.PROVENANCE)


def test_every_result_file_is_on_a_page_and_every_directive_has_its_file() -> None:
    used = {name for page in PAGES for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))}
    assert used == {path.stem for path in RESULTS}


def test_a_table_shows_what_varies_and_states_the_rest_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    header = "model,accuracy,data,split,seed,hardware,command"
    rows = ["`cnn`,0.9,demo,a|b,0,CPU,`c`", "`dnn`,0.5 ± 0.1,demo,a|b,1,CPU,`c`", '`ast`,"0.9, 2.3",demo,a|b,2,CPU,`c`']
    (tmp_path / "one.csv").write_text("\n".join([header, *rows, ""]))
    text = results.render("one")
    assert text.splitlines()[0] == "| model | accuracy | seed |"
    assert "| `dnn` | 0.5\u00a0±\u00a00.1 | 1 |" in text
    assert "| `ast` | 0.9,\u00a02.3 | 2 |" in text
    assert "**Data:** demo · **Split:** a|b · **Hardware:** CPU · **Command:** `c`" in text
    for content, error in (
        ("model\ncnn\n", "missing"),
        (f"{header},model\n", "twice"),
        (f"{header}\ncnn,0.9\n", "line 2"),
    ):
        (tmp_path / "two.csv").write_text(content)
        with pytest.raises(ValueError, match=error):
            results.read("two")
    with pytest.raises(ValueError, match="there are one, two"):
        results.read("three")


def leaves(node: Any, prefix: str) -> Iterator[str]:
    """Dotted names of all keys of a YAML file, without those of Hydra."""
    for name, value in node.items():
        if name in ("_target_", "_partial_", "defaults"):
            continue
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")


@pytest.mark.parametrize("path", YAMLS, ids=names(YAMLS))
def test_the_configuration_has_every_key_of_every_yaml(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    in_group = path.parent.name != "conf" and "@package _global_" not in text
    prefix = f"{path.parent.name}." if in_group else ""
    choice = configuration.read(path)
    assert [key.name for key in choice.keys] == list(leaves(yaml.safe_load(text) or {}, prefix))


def test_a_key_has_its_default_type_and_comment() -> None:
    cnn = configuration.read(PROJECT / "conf/model/cnn.yaml")
    assert cnn.target == "audio_lightning.models.cnn.CNN"
    (dropout,) = (key for key in cnn.keys if key.name == "model.dropout")
    assert (dropout.default, dropout.type) == ("0.2", "float")
    assert dropout.comment.startswith("dropout probability")
    train = {key.name: key for key in configuration.read(PROJECT / "conf/train.yaml").keys}
    assert (train["seed"].default, train["seed"].type) == ("0", "int")
    assert train["tuner.lr_find"].comment
    assert train["monitor"].default == "null"
    light = configuration.read(PROJECT / "conf/augment/light.yaml")
    assert light.description
    (gain,) = (key for key in light.keys if key.name == "augment.waveform.gain.gain_db")
    assert gain.default == "[-6.0, 6.0]"


def test_every_group_has_a_page_with_every_choice() -> None:
    assert set(configuration.GROUPS) == set(configuration.groups())
    pages = configuration.pages()
    for group, paths in configuration.groups().items():
        for path in paths:
            assert f"{{ #{path.stem} }}" in pages[f"reference/configuration/{group}.md"]


def test_the_page_of_commands_has_every_command_and_option() -> None:
    page = commands.page()
    for name, command, context in commands.commands():
        if name in ("train", "sweep"):
            continue
        assert f"## audio-lightning {name}\n" in page
        section = page.partition(f"## audio-lightning {name}\n")[2].partition("\n## ")[0]
        for parameter in command.get_params(context):
            if parameter.param_type_name == "option":
                assert parameter.opts[0] in section
    assert "## python train.py" in page
    assert "model=alexnet|" in page


def test_the_api_has_every_exported_name() -> None:
    assert {name.rpartition(".")[2] for name in api_reference.exported()} == set(audio_lightning.__all__)
    pages = api_reference.pages()
    assert "::: audio_lightning.models.cnn\n" in pages["reference/api/models.md"]
    assert "::: audio_lightning.features.log_mel\n" in pages["reference/api/features.md"]
    documented = {
        module for _, _, patterns in api_reference.ROOMS.values() for module in api_reference.modules(patterns)
    }
    rooms = {path.name for path in (PROJECT / "audio_lightning").iterdir() if (path / "__init__.py").exists()}
    assert rooms - {module.split(".")[1] for module in documented} == {"api", "cli"}


def test_the_catalog_has_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"model": ["cnn", "dnn"], "feature": ["logmel", "waveform"]}  # all of them take seconds
    monkeypatch.setattr(catalog, "choices", chosen.__getitem__)
    page = catalog.page()
    for group, found in chosen.items():
        assert all(f"configuration/{group}.md#{name})" in page for name in found)
    assert "[`logmel`](configuration/feature.md#logmel) | `[1, 64, 101]` |" in page
    assert "audio_lightning.augment.mixup.Mixup" in page
    assert "| `aisfx` |" in page


def test_the_navigation_has_every_page_once() -> None:
    pages = [str(path.relative_to(DOCS)) for path in PAGES]
    pages += [*configuration.pages(), *api_reference.pages(), *notebooks.pages()[0], "reference/commands.md"]
    pages += ["how-to/a-new-page.md", "tutorials/a-new-page.md"]
    found = list(listed(navigation.navigation(pages)))
    assert sorted(found) == sorted(set(pages))
    assert list(listed(navigation.navigation(["how-to/fit.md"]))) == ["how-to/fit.md"]


def listed(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
        return
    for entry in nav.values() if isinstance(nav, dict) else nav:
        yield from listed(entry)


def test_a_notebook_is_a_page_with_its_outputs() -> None:
    texts, files = notebooks.pages()
    page = texts["notebooks/first_steps.md"]
    assert page.startswith("# First steps\n")
    assert "```python\nimport audio_lightning as al\n```" in page
    pictures = re.findall(r"!\[[^]]*\]\(([\w-]+\.png)\)", page)
    assert pictures
    assert all(files[f"notebooks/{name}"].startswith(b"\x89PNG") for name in pictures)


def test_the_tables_of_releases_have_every_renamed_name() -> None:
    page = releases.renamed_names()
    assert all(f"| `{old}` | `{new}` |" in page for old, new in renamed.KEYS.items())
    assert all(f"`{old}`" in page for old in [*renamed.TARGETS, *renamed.METRICS, *renamed.CHOICES])


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_links_between_pages_lead_to_files(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", text):
        place = (path.parent / target).resolve()
        known = place.is_relative_to(DOCS) and str(place.relative_to(DOCS)) in GENERATED
        assert known or place.exists(), f"{target}: no such file"


def test_markdown_of_sentences_and_cells() -> None:
    assert markdown_text.table(("a", "b"), [("x | y", "`p | q`")]).splitlines()[2] == r"| x \| y | `p | q` |"
    assert markdown_text.plain("n_mels <b> `n_mels`") == r"n\_mels &lt;b> `n_mels`"
    assert markdown_text.code("a`b") == "`` a`b ``"
    assert markdown_text.first_sentence("As :class:`x.Y` does\nit.\n\nMore.") == "As `x.Y` does it."


def test_links_of_pages_are_adapted_to_the_site() -> None:
    pytest.importorskip("mkdocs")
    import hooks

    assert hooks._moved("[a](docs/how-to/fit.md#figures)", "reference/changelog.md") == "[a](../how-to/fit.md#figures)"
    assert hooks._moved("[a](CONTRIBUTING.md)", "reference/changelog.md") == "[a](../reference/contributing.md)"
    assert hooks._normalized(Path("how-to/../../conf/x.yaml")) == "../conf/x.yaml"
