"""A server without a kernel of its own: systemd as the first process of its own namespaces.

What systemd does is as on any machine, at this machine's pace. What the kernel
brings (Open vSwitch's datapath, modules, NICs) is this machine's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from tests.server.image import Image
from tests.server.machine import Server
from tests.support.clouds import run, wait_until

CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
"""Where this machine has the second version of control groups."""
NODES = "null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0\nfuse 10 229\n"
BEGIN = r"""set -eu
read -r _
mount --make-rprivate /
mount "$1" "$2"
cd "$2"
for unit in $4; do ln -sf /dev/null "etc/systemd/system/$unit.service"; done
mkdir -p etc/systemd/resolved.conf.d
printf '[Resolve]\nDNS=10.0.2.3\n' > etc/systemd/resolved.conf.d/slirp.conf
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done < "$3"
mkdir dev/pts dev/shm dev/net
mknod -m 666 dev/net/tun c 10 200
mknod -m 660 dev/loop-control c 10 237
for number in $(seq 0 63); do mknod -m 660 "dev/loop$number" b 7 "$number"; done
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs tmpfs dev/shm
mount -t cgroup2 cgroup2 sys/fs/cgroup
pivot_root . mnt
# the clock is this machine's
exec setpriv --bounding-set=-sys_time,-sys_module chroot . /bin/sh -c 'umount -l /mnt
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd' </dev/null
"""
"""Run as the first process, whose mounts nobody else sees; arguments: the disk, where to
mount it, the list of device nodes, units to leave out."""
MASKED = ("systemd-udevd", "systemd-networkd", "systemd-networkd-wait-online", "systemd-timesyncd")
"""What is the hardware's, and so this machine's, or slirp's."""


class Container(Server):
    patience = 120.0
    slower = 2.0

    def __init__(self, image: Image, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.console = folder / "console.log"
        self._network: subprocess.Popen[bytes] | None = None
        self._ending = False
        if not shutil.which("slirp4netns"):
            words = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "slirp4netns"]
            run(words, env=dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"})
        self.disk = folder / "disk.raw"
        run(["cp", "--sparse=always", "--reflink=auto", str(image.disk), str(self.disk)])
        self.root.mkdir()
        self.device = run(["losetup", "--find", "--show", str(self.disk)]).stdout.strip()
        (folder / "nodes").write_text(NODES)
        (folder / "begin.sh").write_text(BEGIN)
        self._group = next(g for g in CGROUPS if (g / "cgroup.procs").exists()) / "onestack-server"
        self._begin()

    def _begin(self) -> None:
        self._group.mkdir(exist_ok=True)
        namespaces = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
        script = f'echo $$ >{self._group}/cgroup.procs; exec "$@"'
        self.outer = subprocess.Popen(
            [
                *("/bin/sh", "-c", script, "sh", "unshare", *namespaces, "--fork", "--kill-child"),
                *("/bin/sh", str(self.folder / "begin.sh"), self.device, str(self.root)),
                *(str(self.folder / "nodes"), " ".join(MASKED)),
            ],
            stdin=subprocess.PIPE,
            stdout=self.console.open("ab"),
            stderr=subprocess.STDOUT,
        )
        listed = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        self.first = int(wait_until("the first process", lambda: listed.read_text(), 20, 0.05))
        # as it is within, and not a NIC of that name outside
        wait_until("its network", self._apart, 20, 0.05)
        self._network = subprocess.Popen(
            ["slirp4netns", "--configure", "--mtu=1400", str(self.first), "ens3"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        there = ["nsenter", "-t", str(self.first), "-n", "ip", "-4", "route", "show", "default"]
        wait_until("its way out", lambda: run(there).stdout, 20, 0.1)
        assert self.outer.stdin
        self.outer.stdin.write(b"\n")
        self.outer.stdin.close()
        threading.Thread(target=self._watch, args=(self.outer,), daemon=True).start()

    def _apart(self) -> bool:
        own, other = (os.readlink(f"/proc/{pid}/ns/net") for pid in ("self", self.first))
        return own != other

    def _watch(self, outer: subprocess.Popen[bytes]) -> None:
        """A first process that wants a boot ends with a signal that says so."""
        code = outer.wait()
        if self._network:
            self._network.terminate()
            self._network.wait()
        self._detach_pools()
        if not self._ending and abs(code) % 128 in (signal.SIGHUP, signal.SIGKILL):
            self._begin()

    def words(self, command: str) -> list[str]:
        environment = ("env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        return [
            *("nsenter", "-t", str(self.first), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"),
            *(*environment, "/bin/sh", "-c", f"cd /root; {command}"),
        ]

    def power_cut(self) -> None:
        before = self.boot()
        os.kill(self.first, signal.SIGKILL)
        self.await_boot(before)

    def end(self) -> None:
        self._ending = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.first, signal.SIGKILL)
        self.outer.wait()
        self._detach_pools()
        run(["losetup", "--detach", self.device])
        self.disk.unlink()
        for group in sorted(self._group.glob("**/"), reverse=True):
            group.rmdir()

    def _detach_pools(self) -> None:
        """Those loop devices that a kernel takes along when it goes; this one stays."""
        number = os.stat(self.device).st_rdev
        for line in run(["losetup", "-n", "-O", "NAME,BACK-MAJ:MIN"]).stdout.splitlines():
            name, _, back = line.partition(" ")
            if back.strip() == f"{os.major(number)}:{os.minor(number)}":
                run(["losetup", "--detach", name])
