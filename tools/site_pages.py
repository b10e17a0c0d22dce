"""A hook of mkdocs: CHANGELOG.md, CONTRACT.md and the survey become pages, and links to files are adapted.

The pages in docs/ link to the files by their paths, so that the links work without the site. On the site such a link
leads to the page that is made of the file, or to the repository.
"""

from __future__ import annotations

import importlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.survey import html
from tools.survey.__main__ import made

ROOT = Path(__file__).resolve().parent.parent

#: Files of the repository that are pages of the site.
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRACT.md": "contract.md", "survey/README.md": "survey.html"}

LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def on_config(config: Any) -> Any:
    """Put pages that the menu does not name at its end."""
    named = set(_named(config.nav))
    docs = Path(config.docs_dir)
    pages = sorted(page.relative_to(docs).as_posix() for page in docs.glob("**/*.md"))
    if rest := [page for page in pages if page not in named]:
        config.nav.append({"More": rest})
    return config


def _named(menu: Any) -> Iterator[str]:
    if isinstance(menu, str):
        yield menu
    else:
        for part in menu.values() if isinstance(menu, dict) else menu:
            yield from _named(part)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that are made of the repository's files."""
    generated = importlib.import_module("mkdocs.structure.files").File.generated  # types are checked without mkdocs
    for source, page in PAGES.items():
        files.append(generated(config, page, content=_as_page(source) if page.endswith(".md") else _survey()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Adapt the links of a page to the site."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    return with_links(markdown, folder, config.repo_url)


def with_links(markdown: str, folder: str, repository: str) -> str:
    """Return the text with each link to a file outside docs/ adapted; code blocks stay as they are.

    Args:
        markdown: The text of a page.
        folder: Where the page lies in the repository.
        repository: The address of the repository.
    """

    def led(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, link["target"]))
        anchor = link["anchor"] or ""
        if place.startswith("docs/"):
            return posixpath.relpath(place, folder) + anchor
        if place in PAGES:
            return posixpath.relpath(f"docs/{PAGES[place]}", folder) + anchor
        kind = "tree" if (ROOT / place).is_dir() else "blob"
        return f"{repository}/{kind}/main/{place}{anchor}"

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(led, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(led, markdown[end:])])


def _as_page(source: str) -> str:
    """Return the text of a file of the root, with links as if the file lay in docs/."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return LINK.sub(lambda link: posixpath.join("..", link["target"]) + (link["anchor"] or ""), text)


def _survey() -> str:
    """Return the page on the survey, which has filters, in place of its Markdown."""
    return made(html.page, ROOT / "survey")
