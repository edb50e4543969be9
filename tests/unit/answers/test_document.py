"""docs/answers.md is made from the declarations, and is as they are now."""

from __future__ import annotations

from pathlib import Path

from onestack.answers import document, table
from onestack.answers.registry import registry

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_committed_page_is_current() -> None:
    """If not: ./onestack answers --markdown > docs/answers.md"""
    assert (DOCS / "answers.md").read_text() == document.text(registry()) + "\n"


def test_every_key_is_on_the_page() -> None:
    text = document.text(registry())
    for name in {*table.rows(), *registry().keys}:
        assert f"`{name}`" in text
