"""Hooks of MkDocs: generated pages, the navigation, and tables of measurements."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import api_reference
import catalog
import commands
import configuration
import curves
import notebooks
import releases
import results
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from navigation import navigation

PROJECT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/audio-lightning/audio-lightning"

INCLUDED = {"CHANGELOG.md": "reference/changelog.md", "CONTRIBUTING.md": "reference/contributing.md"}
"""Files of the repository that are pages of the site."""

MACROS = {"table": results.render, "curves": curves.render, "renamed_names": releases.renamed_names}
"""Directives of the form ``{{ name("argument") }}`` on a line of their own."""

LINK = re.compile(r"(\]\()(?!\w+:|#|/)([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and build the navigation from all pages."""
    pages = {**configuration.pages(), **api_reference.pages()}
    pages["reference/commands.md"] = commands.page()
    pages["reference/catalog.md"] = catalog.page()
    texts, pictures = notebooks.pages()
    pages |= texts
    for source, page in INCLUDED.items():
        pages[page] = _moved((PROJECT / source).read_text(encoding="utf-8"), page)
    contents: dict[str, str | bytes] = {**pages, **pictures, **curves.pictures()}
    for path, content in contents.items():
        files.append(File.generated(config, path, content=content))
    config.nav = navigation([file.src_uri for file in files.documentation_pages()])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Expand directives, and point links to files of the repository to pages or to the repository."""

    def expanded(match: re.Match[str]) -> str:
        name, argument = match.groups()
        if name not in MACROS:
            raise PluginError(f"{page.file.src_uri}: {{{{ {name} }}}}: no such directive; use {', '.join(MACROS)}")
        try:
            return MACROS[name](*([argument] if argument else []))
        except ValueError as error:
            raise PluginError(f"{page.file.src_uri}: {error}") from error

    markdown = re.sub(r'^\{\{ (\w+)\((?:"([\w-]+)")?\) \}\}$', expanded, markdown, flags=re.MULTILINE)
    return LINK.sub(lambda match: _link(match, PurePosixPath(page.file.src_uri).parent, files), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the roles of reStructuredText in docstrings into links."""

    def reference(match: re.Match[str]) -> str:
        shortened, name = match.groups()
        shown = name.rpartition(".")[2] if shortened else name
        if not name.startswith("audio_lightning"):
            return f"<code>{shown}</code>"
        return f'<autoref optional identifier="{name}"><code>{shown}</code></autoref>'

    html = re.sub(r":\w+:<code>(~?)([\w.]+)</code>", reference, html)
    return html.replace("<table>", '<div class="scrolls"><table>').replace("</table>", "</table></div>")


def _link(match: re.Match[str], folder: PurePosixPath, files: Files) -> str:
    before, target, anchor, after = match.groups()
    path = _normalized(folder / target)
    notebook = path.endswith(".ipynb") and "/download/" not in path
    if path in files.src_uris and not notebook:
        return match[0]
    in_repository = _normalized(PurePosixPath("docs") / folder / target)
    page = INCLUDED.get(in_repository)
    if notebook:
        page = path.removesuffix(".ipynb") + ".md"
    if page is not None:
        return f"{before}{_relative(page, folder)}{anchor or ''}{after}"
    if not in_repository.startswith("docs/") and (PROJECT / in_repository).exists():
        return f"{before}{REPOSITORY}/blob/main/{in_repository}{anchor or ''}{after}"
    return match[0]


def _moved(text: str, page: str) -> str:
    """Adapt the links of a file of the repository's root to its place in the site."""
    folder = PurePosixPath(page).parent

    def moved(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if target in INCLUDED:
            place = _relative(INCLUDED[target], folder)
        elif target.startswith("docs/") and not target.startswith("docs/_site/"):
            place = _relative(target.removeprefix("docs/"), folder)
        else:
            place = f"{REPOSITORY}/blob/main/{target}"
        return f"{before}{place}{anchor or ''}{after}"

    return LINK.sub(moved, text)


def _normalized(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _relative(page: str, folder: PurePosixPath) -> str:
    up = "../" * len(folder.parts)
    return f"{up}{page}"


def on_config(config: MkDocsConfig) -> Any:
    """Keep the version of the package in the header."""
    from audio_lightning import __version__

    config.extra["release"] = __version__
    return config
