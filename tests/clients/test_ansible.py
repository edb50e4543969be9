"""Ansible's collection `openstack.cloud`: a play, the same again, and what takes it away."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.clouds import LAUNCHER, REPOSITORY, CloudUnderTest, run

pytestmark = pytest.mark.timeout(3600)
HERE = Path(__file__).parent
PLACE = REPOSITORY / ".venv-clients"


@pytest.fixture(scope="module")
def ansible() -> Path:
    lock = HERE / "requirements.lock"
    run([str(LAUNCHER), "--environment", str(PLACE), str(lock)], timeout=900)
    return PLACE / "bin"


class Player:
    def __init__(self, cloud: CloudUnderTest, programs: Path, clouds_yaml: Path) -> None:
        self.cloud, self.programs, self.file = cloud, programs, clouds_yaml
        self.key = clouds_yaml.with_name("key")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)])
        functional = json.loads(clouds_yaml.read_text())["functional"]
        self.given = {
            "public_key": self.key.with_suffix(".pub").read_text().strip(),
            "image": functional["image_name"],
            "flavor": functional["flavor_name"],
            "template": str(HERE / "stack.yaml"),
        }

    def plays(self, name: str, *words: str) -> dict[str, int]:
        """What its last line counts."""
        given = self.file.with_name("given.json")
        given.write_text(json.dumps(self.given))
        said = self.cloud.type(
            f"env -u OS_CLOUD OS_CLIENT_CONFIG_FILE={self.file} PATH={self.programs}:$PATH "
            f"ANSIBLE_HOME={self.file.parent}/ansible ANSIBLE_NOCOLOR=1 "
            f"{self.programs}/ansible-playbook -e @{given} {HERE / name} {' '.join(words)}",
            timeout=1800,
        )
        return {word: int(count) for word, count in re.findall(r"(\w+)=(\d+)", said)}


@pytest.fixture(scope="module")
def player(cloud: CloudUnderTest, ansible: Path, clouds_yaml: Path) -> Player:
    return Player(cloud, ansible, clouds_yaml)


def test_all_is_made(player: Player) -> None:
    counted = player.plays("play.yaml")
    assert counted["failed"] == counted["unreachable"] == 0
    assert counted["changed"] == counted["ok"]


def test_a_second_time_nothing_changes(player: Player) -> None:
    counted = player.plays("play.yaml", "--skip-tags", "stack")
    assert counted["changed"] == 0 and counted["ok"] > 10


def test_it_goes(player: Player) -> None:
    counted = player.plays("play-end.yaml")
    assert counted["failed"] == 0 and counted["changed"] == counted["ok"]
    assert "play-" not in player.cloud.type("openstack server list --all-projects")
    assert "play-" not in player.cloud.type("openstack network list")
