"""What the tests need of the machine: all packages and the release's environments.

python -m tests.support.prepare
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.cli.session import all_components, gathered
from onestack.deploy.prepare import wanted_environments, wanted_packages
from onestack.host.ledger import Ledger
from onestack.host.packages import ensure_packages
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.host import Host
from onestack.release.release import release
from tests.support.machines import with_datapath, with_device_mapper

LAYOUTS = ("openvswitch", "ovn")
TOOLS = ("curl", "dbus-daemon", "openvswitch-switch")
"""What tests call themselves, be it not what a cloud on this machine has."""


def wanted(root: Path, kernel: bool = False) -> tuple[Context, list[str]]:
    """The packages of every component, for either layout of the network.

    ``kernel``: as on a machine whose kernel has Open vSwitch's datapath, and device-mapper.
    """
    names = set(TOOLS)
    for layout in LAYOUTS:
        answers = registry().answers({"CONFIG_NEUTRON_L2_AGENT": layout})
        cloud = Cloud.named("tests", root)
        found = gathered(cloud, answers)
        if kernel:
            found = with_device_mapper(with_datapath(found))
        ctx = Context(
            cloud=cloud,
            answers=answers,
            secrets=Secrets(root / "secrets.json", answers, registry().secrets, keep=False),
            host=Host.alone(cloud, found),
            release=release(),
            components=all_components(),
        )
        names |= set(wanted_packages(ctx))
    return ctx, sorted(names)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        ctx, names = wanted(Path(folder))
        changes = (
            *ensure_packages(names, Ledger.of(ctx.cloud), systemd=ctx.facts.systemd, tell=print),
            *(
                change
                for name in wanted_environments(ctx)
                for change in ctx.release.environment(name).ensure(print)
            ),
        )
        for change in changes:
            print(change.what, flush=True)
            change.do()
        for change in ctx.release.ensure_borrowed():
            change.do()


if __name__ == "__main__":
    main()
