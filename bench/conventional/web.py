"""uWSGI, which serves the APIs of DevStack, Kolla and Debian's packages.

The services' environment has no web server that a peer uses, and none of the projects brings
one of its own any more. It comes from Debian's packages, unpacked beside the machine's own
and installed nowhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("uwsgi-core", "uwsgi-plugin-python3")
TREE = Path("/var/cache/conventional/uwsgi")


@dataclass(frozen=True)
class Web:
    tree: Path

    @property
    def command(self) -> tuple[str, ...]:
        usr = self.tree / "usr"
        plugins = usr / "lib" / "uwsgi" / "plugins"
        # Named by its Python, which is the machine's: python311, say.
        name = next(plugins.glob("python3*_plugin.so")).name.removesuffix("_plugin.so")
        # Its options are read in this order.
        return (str(usr / "bin/uwsgi-core"), f"--plugin-dir={plugins}", f"--plugin={name}")

    @property
    def environment(self) -> dict[str, str]:
        found = [*self.tree.glob("usr/lib/*-linux-gnu*"), *self.tree.glob("lib/*-linux-gnu*")]
        return {"LD_LIBRARY_PATH": ":".join(map(str, found))} if found else {}


def web(tree: Path = TREE) -> Web:
    """Fetched where it is not there yet, whole or not at all. apt must reach its mirror."""
    if not tree.is_dir():
        tree.parent.mkdir(parents=True, exist_ok=True)
        for left in tree.parent.glob(f".{tree.name}-*"):
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix=f".{tree.name}-", dir=tree.parent))
        work.chmod(0o755)
        missing = needed(_apt("apt-get", "-s", "install", "--no-install-recommends", *PACKAGES))
        _apt("apt-get", "download", "-q", *{*PACKAGES, *missing}, folder=work)
        for deb in work.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, work], check=True)
            deb.unlink()
        work.rename(tree)
    return Web(tree)


def needed(simulated: str) -> list[str]:
    """The packages that ``apt-get -s install`` would install."""
    return re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)


def _apt(*words: str, folder: Path = Path("/")) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}(`apt-get update` may be needed)")
    return done.stdout
