"""Swift's room inside upstream: rings, configuration and the proxy's filter, in its environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onestack.components.swift import Swift
from tests.support.needs import needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import context

TRIALS = Path(__file__).with_name("swift_trials.py")
NOISE = "keystonemiddleware._common.config The option"


pytestmark = needs_services


def trial(name: str, folder: Path) -> tuple[Any, list[str]]:
    """What it found, and the log's lines."""
    done = tried(TRIALS, name, folder)
    log = [line for line in done.stderr.splitlines() if NOISE not in line]
    return json.loads(done.stdout.splitlines()[-1]), log


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    swift = Swift()
    for file in swift.files(context(tmp_path, swift)):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    return tmp_path


def test_rings_follow_the_answers(tmp_path: Path) -> None:
    one, three, copies, two, back = trial("rings", tmp_path)[0]
    assert one["share"] == {"zone1": 1024}
    # Only what a new zone takes is moved, and the zones get equal parts.
    assert sorted(three["share"].values()) == [341, 341, 342]
    assert three["moved"] == 1024 - three["share"]["zone1"]
    # A further copy moves nothing; each is in another zone.
    assert copies["share"] == {"zone1": 1024, "zone2": 1024, "zone3": 1024}
    assert copies["moved"] == 0 and copies["twice"] == 0
    # A zone that is given up keeps its name, so that what lies in it is found and moved.
    assert two["share"] == {"zone1": 1024, "zone2": 1024}
    assert back["share"] == {"zone1": 1024} and back["moved"] == 0
    assert back["devices"] == ["zone1", "zone2", "zone3"]
    assert [step["ips"] for step in (one, back)] == [["127.0.0.1"]] * 2


def test_each_copy_lies_in_another_zone(tmp_path: Path) -> None:
    earlier, equal, unlike, more, three = trial("dispersed", tmp_path)[0]
    assert earlier[0] > 0
    assert [undispersed for undispersed, _ in (equal, unlike, more, three)] == [0, 0, 0, 0]
    # Where a zone has less than its share, its disks get more than theirs, and no others.
    assert equal[1] == {"a": 512, "b": 1024, "c": 512}
    assert unlike[1] == {"a": 1024, "b": 1024}
    assert more[1]["a"] == 1024 and 25 < more[1]["d"] / more[1]["b"] < 35


def test_the_same_wish_makes_the_same_ring(tmp_path: Path) -> None:
    assert trial("again", tmp_path)[0] is True


def test_the_warm_parent_is_fit_to_be_forked(tmp_path: Path) -> None:
    """Patched before the libraries came, without a descriptor or a thread to share."""
    assert trial("patched", tmp_path)[0] == {"tls": True, "descriptors": 0, "threads": 1}


def test_upstream_takes_the_files(rendered: Path) -> None:
    workers, log = trial("files", rendered)
    assert len(workers) == 10
    assert not [line for line in log if " WARNING " in line or " ERROR " in line]


def test_every_option_is_one_that_is_read(rendered: Path) -> None:
    assert trial("unknown", rendered)[0] == []
    own = rendered / "etc" / "swift" / "object-server.conf"
    own.write_text(own.read_text().replace("zero_byte_files_per", "zero_bite_files_per"))
    assert trial("unknown", rendered)[0] == [
        "object-server.conf: [object-auditor] zero_bite_files_per_second"
    ]


def test_an_object_without_room_is_refused(tmp_path: Path) -> None:
    found, _ = trial("room", tmp_path)
    (fits, _), (large, why), (container, _), (post, _) = found["answers"]
    assert (fits, large, container, post) == (201, 507, 201, 201)
    assert "delete objects, or let it grow (CONFIG_SWIFT_STORAGE_SIZE)" in why
    assert found["passed"] == ["PUT", "PUT", "POST"]
    # The hundredth that the storage servers keep is not given out; nor what lies under a lost disk.
    assert found["free"] == 100


def test_a_temporary_url_says_what_is_wrong_with_its_signature(rendered: Path) -> None:
    old, new, nonsense, head = trial("temporary_urls", rendered)[0]
    assert old[0] == new[0] == nonsense[0] == head[0] == 401
    assert "signed with sha1, allowed are sha256, sha512" in old[1]
    assert new[1] == nonsense[1] == "401 Unauthorized: Temp URL invalid\n" and head[1] == ""
