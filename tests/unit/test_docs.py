"""What the docs name of the program is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]
SOURCE = HERE / "src" / "onestack"
ROOMS = {path.name for path in SOURCE.iterdir() if path.is_dir()} | {"bench", "docs", "tests"}
PLACES = (HERE, SOURCE, *(SOURCE / "components").glob("*/"))
"""What a path in the docs may begin at; the last for ``inside/run.py`` of any room."""
DOCS = sorted((HERE / "docs").rglob("*.md"))
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")


def paths(text: str) -> Iterator[str]:
    """Those in backticks that look like ours; what is below a cloud's root is not."""
    for path in re.findall(r"`([\w./-]+)`", text):
        first, slash, _ = path.partition("/")
        if slash and first and first != "ROOT" and (path.endswith(".py") or first in ROOMS):
            yield path


def there(path: str) -> bool:
    pattern = PLACEHOLDER.sub("*", path.rstrip("/"))
    return any(any(place.glob(pattern)) for place in PLACES)


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: str(doc.relative_to(HERE)))
def test_paths_of_ours_are_there(doc: Path) -> None:
    gone = [path for path in paths(doc.read_text(encoding="utf-8")) if not there(path)]
    assert not gone


def test_what_counts_as_ours() -> None:
    text = (
        "`components/neutron/fwaas_ovn.py`, `inside/run.py`, `up.py`, `storage/`, `/etc/x.py`, "
        "`ROOT/etc/local_settings.py`, `components/NAME/inside/`, `etc/hosts`"
    )
    found = list(paths(text))
    assert found == [
        "components/neutron/fwaas_ovn.py",
        "inside/run.py",
        "storage/",
        "components/NAME/inside/",
    ]
    assert [path for path in found if not there(path)] == ["components/neutron/fwaas_ovn.py"]
