"""Files of the machine with a way back: power may go after each, and others edit them too."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.network.nic import texts
from onestack.network.nic.journal import KEPT, Journal, Record
from onestack.network.nic.managers.ifupdown import edit
from onestack.network.nic.managers.told import Handover, Told
from onestack.network.nic.operations import Terms, detach

ONE, TWO = Handover("eno1", "br-eno1", "", 1500), Handover("eno2", "br-eno2", "", 1500)
TEXT = """auto lo
iface lo inet loopback

auto eno1
iface eno1 inet static
    address 192.0.2.5/24

# the other one

auto eno2
iface eno2 inet dhcp
"""


def test_files_are_written_in_order_and_put_back_in_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    put = texts._put

    def seen(path: Path, text: str | None, mode: int) -> None:
        done.append(path.name)
        put(path, text, mode)

    monkeypatch.setattr(texts, "_put", seen)
    (tmp_path / "old").write_text("old")
    files = {tmp_path / "d/e/first": "1", tmp_path / "counts": "2", tmp_path / "old": None}
    notes = texts.note(Told(files))
    texts.write(notes)
    assert (tmp_path / "d/e/first").is_file() and not (tmp_path / "old").exists()
    told = texts.taken_back(notes, (("reload",),))
    assert [path.name for path in told.files] == ["old", "counts", "first"]
    assert list(told.files.values()) == ["old", None, None] and told.commands == told.back
    texts.restore(notes)
    assert done == ["first", "counts", "old", "old", "counts", "first"]
    # folders that were made for it are gone too
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def attached(place: Path, wanted: Handover) -> list[dict[str, object]]:
    told = Told({place: edit(place.read_text(), wanted)}, mergeable=frozenset({place}))
    notes = texts.note(told)
    texts.write(notes)
    return notes


@pytest.mark.parametrize("first", [0, 1])
def test_two_nics_in_one_file_are_given_back_in_either_order(tmp_path: Path, first: int) -> None:
    place = tmp_path / "interfaces"
    place.write_text(TEXT)
    notes = [attached(place, ONE), attached(place, TWO)]
    for number in (first, 1 - first):
        assert texts.changed(notes[number]) == []
        texts.restore(notes[number])
        other = (TWO, ONE)[first]
        if number == first:
            assert place.read_text() == edit(TEXT, other)
    assert place.read_text() == TEXT


def test_what_others_have_written_elsewhere_in_it_stays(tmp_path: Path) -> None:
    place = tmp_path / "interfaces"
    place.write_text(TEXT)
    notes = attached(place, ONE)
    place.write_text(f"# more\n{place.read_text()}\nauto eno3\niface eno3 inet dhcp\n")
    assert texts.changed(notes) == []
    texts.restore(notes)
    assert place.read_text() == f"# more\n{TEXT}\nauto eno3\niface eno3 inet dhcp\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("address 192.0.2.5/24", "address 192.0.2.7/24"),
        ("auto eno1 br-eno1", "auto eno1 br-eno1 tun0"),
        # right before what is ours
        ("\nauto eno1 br-eno1", "\n# hello\nauto eno1 br-eno1"),
    ],
)
def test_what_others_have_written_into_ours_is_said(tmp_path: Path, old: str, new: str) -> None:
    place = tmp_path / "interfaces"
    place.write_text(TEXT)
    notes = attached(place, ONE)
    assert old in place.read_text()
    place.write_text(place.read_text().replace(old, new))
    assert texts.changed(notes) == [str(place)]


def test_a_file_that_is_not_of_such_lines_is_not_merged(tmp_path: Path) -> None:
    place = tmp_path / "netplan.yaml"
    place.write_text(TEXT)
    notes = texts.note(Told({place: edit(TEXT, ONE)}))
    texts.write(notes)
    place.write_text(place.read_text() + "\n# more\n")
    assert texts.changed(notes) == [str(place)]


def test_which_nic_is_to_be_given_back_first_is_said(tmp_path: Path) -> None:
    """Both have changed one file that cannot be merged: the later one has what the first made."""
    cloud = Cloud("test", tmp_path / "cloud", None)
    (cloud.etc / "nic").mkdir(parents=True)
    place = tmp_path / "50-a.yaml"
    place.write_text("one")
    for nic, text in (("eno1", "two"), ("eno2", "three")):
        notes = texts.note(Told({place: text}))
        texts.write(notes)
        Journal.of(cloud, nic).write(Record(nic, f"br-{nic}", KEPT, files=tuple(notes)))
    with pytest.raises(OnestackError, match="eno1 cannot be given back before eno2"):
        detach(cloud, "eno1", Terms())
    place.write_text("four")
    with pytest.raises(OnestackError, match=r"eno2 cannot be given back: .*50-a.yaml was changed"):
        detach(cloud, "eno2", Terms())
    assert place.read_text() == "four"
