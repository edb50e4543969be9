"""What the amphora's image has of ours: the programs that upstream's agent calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from onestack.components.octavia.amphora import AMPHORA
from onestack.components.octavia.amphora import PROGRAMS as IMPORTED
from tests.support.needs import needs_root

PROGRAMS = AMPHORA.tree / "usr/local/bin"
NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
needs_nft = pytest.mark.skipif(not NFT, reason="nftables is not installed")


def in_a_namespace(*commands: str) -> str:
    """Run by a shell in a network namespace of its own."""
    script = "set -e\n" + "\n".join(commands)
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script],
        env={"PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
@needs_nft
@pytest.mark.parametrize(("family", "table"), [("ipv4", "ip"), ("ipv6", "ip6")])
def test_what_lvs_forwards_leaves_with_the_devices_own_address(family: str, table: str) -> None:
    add = f"lvs-masquerade.sh add {family} eth1"
    once = in_a_namespace(add, "nft list ruleset")
    assert f"table {table} octavia_eth1" in once
    assert 'oifname "eth1" meta l4proto { 17, 132 } masquerade' in once or "udp, sctp" in once
    assert once.count("notrack") == 2
    # The agent may say it again, of another device too, and with another way to filter.
    assert in_a_namespace(add, add, "nft list ruleset") == once
    filtered = in_a_namespace(add, f"{add} sriov", "nft list ruleset")
    assert "masquerade" in filtered
    assert "notrack" not in filtered
    other = add.replace("eth1", "eth2")
    gone = add.replace("add", "delete")
    left = in_a_namespace(add, other, gone, gone, "nft list ruleset")
    assert "octavia_eth2" in left
    assert "octavia_eth1" not in left


@pytest.mark.parametrize("words", ["", "add", "add ipv4", "add ipv5 eth1", "put ipv4 eth1"])
def test_a_wrong_call_changes_nothing_and_says_so(words: str) -> None:
    done = subprocess.run(
        [PROGRAMS / "lvs-masquerade.sh", *words.split()],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: lvs-masquerade.sh")


def test_what_the_agent_calls_by_name_is_on_its_path() -> None:
    known = {path.name.replace("-", "_").removeprefix("amphora_") for path in PROGRAMS.iterdir()}
    assert set(IMPORTED) <= known
    for path in PROGRAMS.iterdir():
        if path.is_symlink():
            assert os.readlink(path) == f"/opt/venv/bin/{path.name}"


def test_units_start_what_is_there() -> None:
    for unit in AMPHORA.tree.rglob("*.service"):
        line = next(x for x in unit.read_text().splitlines() if x.startswith("ExecStart="))
        program = Path(line.removeprefix("ExecStart=").split()[0])
        assert (PROGRAMS / program.name).is_symlink()
