"""The time of servers that the operator names: compared, told, and one that is dead is named.

The server is a chronyd of the test's own inside the cloud's network. It hands
out this machine's own time, or that with a shift; nobody sets the machine's
clock.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until

SERVER, NOBODY = "100.64.0.1", "100.64.0.99"


class Time:
    """The test's own server, and the cloud's client."""

    def __init__(self, cloud: CloudUnderTest, place: Path) -> None:
        self.cloud = cloud
        self.trees = next(Path("/var/cache/onestack").glob("chrony-debian-*"))
        self.control = place / "control.sock"
        config = place / "server.conf"
        config.write_text(
            f"local stratum 5\nmanual\nallow all\nbindaddress {SERVER}\ncmdport 0\n"
            f"bindcmdaddress {self.control}\npidfile {place}/server.pid\n"
        )
        place.chmod(0o700)
        self.config, self.log = config, place / "server.log"
        self.start()

    def start(self) -> None:
        """A server with this machine's own time."""
        self.server = subprocess.Popen(
            [
                *("ip", "netns", "exec", f"onestack-{self.cloud.name}"),
                *(str(self.trees / "usr/sbin/chronyd"), "-d", "-x", "-u", "root"),
                *("-f", str(self.config)),
            ],
            stderr=self.log.open("a"),
        )
        wait_until("the test's server", self.control.exists, 20, 0.2)

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait(20)

    def chronyc(self, socket: Path, *words: str) -> str:
        return run([str(self.trees / "usr/bin/chronyc"), "-h", str(socket), "-n", *words]).stdout

    @property
    def client(self) -> Path:
        return self.cloud.root / "run" / "chrony" / "chronyd.sock"

    def ask_now(self) -> None:
        """The client's questions, now and not in a minute."""
        self.chronyc(self.client, "burst", "4/4")

    def shift(self, seconds: float) -> None:
        """From now on the server's time is that much after the machine's."""
        when = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        self.chronyc(self.control, "settime", when.strftime("%Y-%m-%d %H:%M:%S"))

    def remarks(self) -> list[str]:
        found = json.loads(self.cloud.onestack("doctor", "--json", expect=None).stdout)
        return [remark["what"] for remark in found["remarks"]]

    def said(self, part: str) -> bool:
        self.ask_now()
        return any(part in remark for remark in self.remarks())


@pytest.fixture(scope="module")
def time(cloud: CloudUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Time]:
    made = Time(cloud, tmp_path_factory.mktemp("time"))
    try:
        yield made
    finally:
        made.stop()


def test_the_machines_clock_is_left_to_the_machine(cloud: CloudUnderTest) -> None:
    """A cloud in a namespace of its own compares, and says that it does no more."""
    command = cloud.type("ps -o args= -C chronyd")
    assert f"-u onestack-{cloud.name}-chrony -x" in command
    done = cloud.onestack("up", "--netns")
    assert "does not set it; a cloud in a network namespace of its own" in done.stderr
    assert ": 0 changes in" in done.stdout


def test_it_is_compared_and_the_dead_server_is_named(time: Time) -> None:
    wait_until("a comparison", lambda: time.said("the clock is right"), 60, 2)
    remarks = time.remarks()
    assert [r for r in remarks if "has not answered" in r] == [
        f"the time server {NOBODY} has not answered since chronyd was started"
    ]
    states = {p["name"]: p["state"] for p in time.cloud.status()}
    assert states["chronyd"] == "READY"


def test_a_clock_that_is_wrong_is_told(time: Time) -> None:
    try:
        time.shift(20)
        wait_until("the difference", lambda: time.said("behind the servers' time"), 90, 2)
    finally:
        time.stop()
        time.start()
    wait_until("the right time again", lambda: not time.said("s behind"), 90, 2)


def test_guests_are_told_of_the_servers(cloud: CloudUnderTest) -> None:
    """A real guest asks for them in test_provision."""
    listed = cloud.type("ovn-nbctl --format=json --columns=options list dhcp_options")
    options = [dict(row[0][1]) for row in json.loads(listed)["data"]]
    four = [o for o in options if "server_mac" in o]
    assert four
    assert {o.get("ntp_server") for o in four} == {f"{{{SERVER}, {NOBODY}}}"}


def test_nothing_of_the_machines_own_was_touched() -> None:
    """Debian's package would be a time service of the machine's, and put another off it."""
    known = run(["dpkg-query", "-W", "-f=${db:Status-Status}", "chrony"], expect=None).stdout
    assert known in ("", "not-installed")


def test_no_error_in_its_log(cloud: CloudUnderTest) -> None:
    lines = [line for line in cloud.error_lines() if line.startswith("chronyd.log")]
    assert unexpected(lines) == []
