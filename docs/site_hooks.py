"""What the site takes from the rest of the repository: its address, three pages, and formulas that need no script.

mkdocs calls these functions by their names; mkdocs.yml names this file.
"""

from __future__ import annotations

import re
import tomllib
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
# Pages that live elsewhere, because they are read there too.
PAGES = {"benchmarks.md": "benchmarks/README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
# How pages of the repository name each other, and where that is on the site.
LINKS = {
    "../benchmarks/README.md": "benchmarks.md",
    "../docs/": "",
    "docs/": "",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
# A letter with a prime: as a superscript the prime would be a dot.
PRIMED = re.compile(r"<msup><mi>(\w)</mi><m[io]>(?:&#x0?2032;|\u2032)</m[io]></msup>")
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def on_config(config: Any) -> Any:
    """Take the address of the project from pyproject.toml; without an owner yet, the pages link to none."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    if "OWNER" not in urls["Source"]:
        config.repo_url = urls["Source"]
        config.repo_name = "GitHub"
        config.site_url = urls["Documentation"]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that live elsewhere."""
    for name, path in PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links to where the pages are on the site."""
    return LINK.sub(lambda found: place_of(found[1]), markdown)


def place_of(link: str) -> str:
    """Return a link of the repository as one of the site."""
    for start, place in LINKS.items():
        if link.startswith(start):
            return place + link.removeprefix(start)
    return link


def on_page_content(html: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers show by themselves."""
    html = re.sub(r'<span class="arithmatex">\\\((.+?)\\\)</span>', lambda f: formula(f[1], "inline"), html, flags=re.S)
    return re.sub(r'<div class="arithmatex">\\\[(.+?)\\\]</div>', lambda f: formula(f[1], "block"), html, flags=re.S)


def formula(latex: str, display: str) -> str:
    """Return a formula as MathML."""
    return PRIMED.sub(r"<mi>\1&#x2032;</mi>", convert(unescape(latex).strip(), display=display))
