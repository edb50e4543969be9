"""Name servers of a device that systemd-resolved was told of by hand or at boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.network.nic import dns

RESOLVECTL = """#!/bin/sh
[ "$1" != --no-pager ] || shift
echo "$@" >> {log}
[ $# = 2 ] || exit 0
case $1 in
    dns) echo "Link 2 (eno1): 192.0.2.53 2001:db8::53" ;;
    domain) echo "Link 2 (eno1): example.org ~." ;;
    default-route) echo "Link 2 (eno1): yes" ;;
esac
"""


def test_the_bridge_gets_what_the_nic_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, log = tmp_path / "resolvectl", tmp_path / "log"
    program.write_text(RESOLVECTL.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    dns.hand_over("eno1", "br-eno1")
    assert [line for line in log.read_text().splitlines() if "br-eno1" in line] == [
        "dns br-eno1 192.0.2.53 2001:db8::53",
        "domain br-eno1 example.org ~.",
        "default-route br-eno1 yes",
    ]


def test_where_nothing_is_known_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, log = tmp_path / "resolvectl", tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\necho "Link 2 (eno1):"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    dns.hand_over("eno1", "br-eno1")
    assert "br-eno1" not in log.read_text()
    program.write_text("#!/bin/sh\nexit 1\n")
    dns.hand_over("eno1", "br-eno1")
