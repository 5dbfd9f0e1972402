"""The README and what it leads to: links that lead somewhere, settings and options that exist."""

import re
from pathlib import Path

import pytest

from edge_app.config.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.parent.name == "docs" and f"(docs/{page.name})" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_settings_that_are_named_exist(page: Path) -> None:
    """`section.key` in code, of the sections that there are; `metrics.port=9464` too."""
    sections = {
        name: set(type(value).model_fields) for name, value in Settings() if hasattr(type(value), "model_fields")
    }
    named = re.findall(r"(?<![\w./])([a-z_]+)\.([a-z_0-9]+)(?=[`=:;, ])", page.read_text(encoding="utf-8"))
    unknown = [f"{section}.{key}" for section, key in named if section in sections and key not in sections[section]]
    assert unknown == []
    assert page.name != "README.md" or ("detector", "input_size") in named
