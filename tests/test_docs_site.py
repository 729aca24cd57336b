"""What the project says of itself: links lead somewhere, code runs, names exist, one address, one site."""

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import napari_densecrf as ndc
from napari_densecrf import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
# Pages whose Python runs as it stands; from-one-slice-to-everything.md and objects.md have tests of their own.
RUN = ("annotate-from-nothing.md", "choosing-numbers.md", "api.md")

# Pages of the site that live elsewhere, see docs/site_hooks.py.
MADE = {"benchmarks.md": "benchmarks/README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page, *kinds):
    return [block for kind, block in re.findall(r"```(\w*)\n(.*?)```", text_of(page), flags=re.DOTALL) if kind in kinds]


def prose(page):
    """Return a page without its code, where brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL))


def anchors(page):
    """Return the names of a page's headings, as the site and GitHub make them."""
    found = re.findall(r"\{ #([\w-]+) \}", text_of(page))
    for heading in re.findall(r"^#+ (.*?)(?: \{.*\})?$", prose(page), flags=re.MULTILINE):
        found.append(re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            assert link.startswith("https://")
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target.parent.name == "docs" and target.name in MADE:
            target = ROOT / MADE[target.name]
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def test_pictures_are_named_somewhere_and_small():
    said = "\n".join(map(text_of, PAGES))
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name}" in said, picture.name
        assert picture.stat().st_size < 1.5e6, picture.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_pages_is_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("name", RUN)
def test_python_on_pages_runs(name):
    pytest.importorskip("sklearn")
    found = blocks(ROOT / "docs" / name, "python")
    assert found
    for block in found:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(block, {})


def options_of(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


def test_options_on_pages_exist(capsys):
    known = set().union(*(options_of(capsys, command) for command in ("refine", "batch")))
    known |= {"--version", "--help"}
    for page in PAGES:
        for block in blocks(page, "", "sh"):
            for line in block.splitlines():
                if line.startswith("napari-densecrf "):
                    words = {word.split("=")[0] for word in shlex.split(line) if word.startswith("--")}
                    assert words <= known, line
    for word in re.findall(r"`(--[a-z][a-z-]+)", text_of(ROOT / "docs" / "faq.md")):
        assert word in known, word


def test_folds_and_menus_on_pages_exist():
    folds = set(re.findall(r'FOLDS?\b.*|"([A-Z][a-z]+(?: [/a-z]+)*\??)"', SOURCE))
    for page in PAGES:
        for path in re.findall(r"\*\*([^*]+ > [^*]+)\*\*", text_of(page)):
            first = path.split(" > ")[0]
            assert first in {"File", "Plugins", "Help"} | folds, path


def test_the_reference_has_all_that_is_public():
    found = re.findall(r"^::: ([\w.]+)$", text_of(ROOT / "docs" / "api.md"), flags=re.MULTILINE)
    assert sorted(name.rpartition(".")[2] for name in found) == sorted(ndc.__all__)
    for name in found:
        module, _, thing = name.rpartition(".")
        __import__(module)
        assert getattr(sys.modules[module], thing) is getattr(ndc, thing), name


def test_one_address():
    urls = PROJECT["project"]["urls"]
    source = urls["Source"]
    owner, name = source.rsplit("/", 2)[1:]
    assert all(url.startswith(source) for key, url in urls.items() if key != "Documentation")
    assert f'repository-code: "{source}"' in text_of(ROOT / "CITATION.cff")
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for rule in hook["substitutions"]:
        assert f"/{owner}/{name}/" in rule["replacement"]


def test_the_readme_on_pypi_has_no_relative_link():
    text = text_of(ROOT / "README.md")
    rules = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    for rule in rules:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert any("raw.githubusercontent.com" in link and "docs/images/" in link for link in links)
    assert all(link.startswith("https://") for link in links)


def test_workflows_call_targets_of_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    for path in [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / ".ci" / "run"]:
        called = re.findall(r"\bmake ((?:[a-z-]+ ?)+)(?=[A-Z]|$)", text_of(path), flags=re.MULTILINE)
        assert called, path
        for target in " ".join(called).split():
            assert target in targets, (path.name, target)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(words, check=True, cwd=ROOT)
    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "images/annotation.png" in home
    assert "<math" in (tmp_path / "model" / "index.html").read_text(encoding="utf-8")
    # Nothing is asked of other servers.
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?://(?!127)', home)
