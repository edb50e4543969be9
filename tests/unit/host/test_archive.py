"""Another Debian's packages: from which mirrors, and by which apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.host import archive
from onestack.model.errors import OnestackError


def sources(etc: Path, **files: str) -> Path:
    (etc / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        place = etc if name == "sources_list" else etc / "sources.list.d"
        (place / name.replace("_", ".")).write_text(text)
    return etc


DEB822 = (
    "Types: deb\nURIs: http://security.example/debian-security\nSuites: bookworm-security\n"
    "Components: main\n\n"
    "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
)


def test_the_mirrors_are_those_that_apt_uses(tmp_path: Path) -> None:
    other = "deb [arch=amd64] https://example.org/x stable main\n"
    etc = sources(tmp_path, debian_sources=DEB822, other_list=other)
    assert archive.mirrors(etc, "bookworm") == {
        "": "http://mirror.example/debian",
        "-updates": "http://mirror.example/debian",
        "-security": "http://security.example/debian-security",
    }
    (etc / "sources.list").write_text(
        "# deb http://no.example/debian bookworm main\n"
        "deb [signed-by=/x.gpg] http://line.example/debian bookworm main\n"
    )
    assert archive.mirrors(etc, "bookworm")[""] == "http://line.example/debian"


def test_who_names_suites_by_debians_releases_is_not_debian(tmp_path: Path) -> None:
    others = (
        "deb https://a.example/tools bookworm main\n"
        "deb https://b.example/linux/debian bookworm stable\n"
        "deb-src http://c.example/debian bookworm main\n"
    )
    etc = sources(tmp_path, sources_list=others, debian_sources=DEB822)
    assert archive.mirrors(etc, "bookworm")[""] == "http://mirror.example/debian"


def test_no_mirror_is_said_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(OnestackError, match="no Debian mirror") as caught:
        archive.mirrors(tmp_path, "bookworm")
    assert "/etc/apt/sources.list" in caught.value.cure


def test_an_apt_of_its_own_touches_nothing_of_the_machines(tmp_path: Path) -> None:
    suites = {"bookworm": "http://m.example/debian", "bookworm-security": "http://s.example/s"}
    options = archive.isolated_apt(tmp_path / "apt", suites)
    assert options == ["-c", str(tmp_path / "apt/apt.conf")]
    lines = Path(options[1]).read_text().splitlines()
    said = (line.rstrip(";").split(" ", 1) for line in lines if not line.startswith("#clear"))
    given = {name: value.strip('"') for name, value in said}
    assert "#clear APT::Update::Post-Invoke;" in lines
    for name, value in given.items():
        if name.startswith("Dir::") and value.startswith("/") and value != "/dev/null":
            assert Path(value).is_relative_to(tmp_path), name
    assert Path(given["Dir::State::status"]).read_text() == ""
    assert Path(given["Dir::Etc::sourcelist"]).read_text().splitlines() == [
        f"deb [signed-by={archive.KEYRING}] http://m.example/debian bookworm main",
        f"deb [signed-by={archive.KEYRING}] http://s.example/s bookworm-security main",
    ]


def test_a_vendors_folder_of_packages_is_an_entry_too(tmp_path: Path) -> None:
    """It has no components, and the line after it is another entry."""
    text = (
        "deb https://vendor.example/repo/debian12/x86_64/ /\n"
        "deb http://deb.example/debian bookworm main\n"
    )
    etc = sources(tmp_path, sources_list=text)
    assert archive.mirrors(etc, "bookworm") == {"": "http://deb.example/debian"}
