"""IPv6 switched off: by a sysctl, or for the whole kernel."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from onestack.host import facts
from tests.support import networks
from tests.support.needs import needs_root

REPOSITORY = Path(__file__).resolve().parents[3]
LOOK = """
import json, socket
from pathlib import Path
from onestack.diagnose import preflight
from onestack.diagnose.machine import Machine
from onestack.host import facts
from onestack.model.cloud import Cloud
from onestack.supervise import sockets

try:
    socket.socket(socket.AF_INET6)
except OSError as error:
    said = error.strerror
cloud = Cloud("a", Path("/nonexistent/a"))
found = facts.gather(cloud)
needs = preflight.Needs(ports=[("127.0.0.1", 1, "a"), ("::1", 1, "b")], release_installed=True)
checks = [check for check in preflight.CHECKS if check not in preflight.REMOTE]
findings = preflight.look(preflight.Subject(cloud, Machine(found), needs), checks)
failed = [f.what for f in findings if "failed" in f.what]
listening = sockets.open_socket("tcp:127.0.0.1:0", "root").getsockname()[0]
print(json.dumps([said, found.ipv6, found.hostname_address != "", failed, listening]))
"""


@needs_root
def test_by_a_sysctl() -> None:
    with networks.alone():
        assert facts.ipv6_on()
        # of all devices that there are, and of those to come
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1\n")
        assert not facts.ipv6_on()
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("0\n")
        assert facts.ipv6_on()


def test_by_the_kernels_parameter(tmp_path: Path) -> None:
    assert not facts.ipv6_on(tmp_path / "ipv6")


@needs_root
@pytest.mark.skipif(platform.machine() != "x86_64", reason="counts system calls of x86-64")
def test_the_machine_is_looked_at_without_it() -> None:
    support = REPOSITORY / "tests" / "support" / "no_ipv6.py"
    words = ["unshare", "--mount", sys.executable, str(support), sys.executable, "-c", LOOK]
    env = {"PYTHONPATH": str(REPOSITORY / "src"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    said, ipv6, resolves, failed, listening = json.loads(done.stdout)
    assert said == "Address family not supported by protocol"
    assert not ipv6 and failed == []
    assert resolves and listening == "127.0.0.1"
