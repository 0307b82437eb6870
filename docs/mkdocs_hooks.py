"""What MkDocs does beyond its own: files from outside of this folder, tables of options, names in docstrings.

On the repository's host a link such as ``../configs/pretrain.yaml`` leads to the file. The site gets the file under
``repository/``, and the link leads there; what is in ``PAGES`` becomes a page.
"""

import re
from pathlib import Path
from posixpath import dirname, normpath
from typing import Any

import options
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"shards/README.md": "shards.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages of the site, too."""

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
_MARKER = re.compile(r"^<!-- (settings|command|summary) (\S+)(?: (\S+))? -->$", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data):<code>(~?)([\w.]+)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files that pages link to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for page in files.documentation_pages():
        for target in _LINK.findall(Path(str(page.abs_src_path)).read_text()):
            path, uri = _place(page.src_uri, target)
            if uri.startswith("repository/") and path.is_file() and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links to where things are on the site, and put tables where their markers are."""
    pointed = _LINK.sub(lambda match: f"]({_place(page.file.src_uri, match[1])[1]}", markdown)
    return _MARKER.sub(_table, pointed)


def on_page_content(html: str, **_: Any) -> str:
    """Show names in docstrings, such as ``:class:`~abair_pl.bundle.Bundle```, as code."""
    return _ROLE.sub(lambda match: f"<code>{match[2].rpartition('.')[2] if match[1] else match[2]}</code>", html)


def _place(page: str, target: str) -> tuple[Path, str]:
    """The file that a link of a page leads to in the repository, and its address on the site."""
    origin = next((name for name, uri in PAGES.items() if uri == page), f"docs/{page}")
    found = normpath(f"{dirname(origin)}/{target}".lstrip("/"))
    if found.startswith("docs/"):
        return ROOT / found, found.removeprefix("docs/")
    return ROOT / found, PAGES.get(found, f"repository/{found}")


def _table(marker: re.Match[str]) -> str:
    kind, path, key = marker.groups()
    if kind == "settings":
        return options.setting_table(path, key)
    return options.command_table(path) if kind == "command" else options.summary(path)
