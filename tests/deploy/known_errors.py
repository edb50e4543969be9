"""Log lines at ERROR that a clean run may show, each with its reason."""

from __future__ import annotations

import re

KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"^heat\.log: \S+ \S+ \d+ ERROR heat\.engine\.resource ",
        "how heat logs that a resource cannot be made as its template has it: a test asks for it",
    ),
    (
        r"^cinder-api\.log: .*(No valid backend was found|ScheduleCreateVolumeTask)",
        "cinder's way to say that a volume is larger than the pool, which the guide asks for",
    ),
    (
        r"^octavia-api\.log: .* onestack\.octavia .* was interrupted \(",
        "a test kills Octavia in the middle of a change, which is then told of",
    ),
    (
        r"^octavia-api\.log: .* ERROR wsme\.api .*does not support a requested option",
        "how octavia logs what a provider cannot do, and answers 501: upstream's tests try it",
    ),
    (
        r"^octavia-api\.log: .* ERROR barbicanclient\.client .*Secrets container not found",
        "a certificate may be a container or a secret: upstream tries the former first",
    ),
    (
        r"^trove\.log: .* ERROR trove\.common\.exception .*Cannot find compute instance",
        "how trove waits for a server to be gone: it asks until there is none, and logs that",
    ),
    (
        r"^trove\.log: .* ERROR trove\.conductor\.manager .*Guest exception on request.*"
        r"Operation CREATE USER failed",
        "upstream's tests restore a backup and ask for a user who is in it: the agent tells that "
        "the database refuses another of that name",
    ),
    (
        r"^barbican\.log: .* ERROR barbican\.api\.controllers .*"
        r"not allowed - please review your user/project privileges",
        "how barbican logs whom it refuses: a test asks for what is another project's",
    ),
    (
        r"^horizon\.log: .*(error invoking apiclient|"
        r"Internal Server Error: /dashboard/api/glance/metadefs/namespaces/)$",
        "the form for a new instance asks for definitions of OS::Cinder::Volumes, a slip of "
        "upstream's: nobody has any, and the dashboard fails on none; any other failure also has "
        "a line with its own place",
    ),
    (
        r"^ovs-vswitchd\.log: .*error receiving data from \S+: (Network is down|No such device)|"
        r"dpif_netdev\|ERR\|Dropped \d+ log messages in last",
        "the userspace switch reads from the device of a guest or namespace that is being removed; "
        "of many such lines it counts some instead",
    ),
    (
        r"^nova-compute\.log: .* nova\.scheduler\.client\.report .*placement\.concurrent_update",
        "the scheduler claims for a server in the moment in which the compute service tells "
        "placement of its host: upstream tells it again at once, up to four times, and logs each",
    ),
    (
        r"^neutron-l3-agent\.log: .*'arping', .*Cannot open network namespace \"qrouter-",
        "a router is deleted while the agent still announces an address that it had",
    ),
    (
        r"^neutron-openvswitch-agent\.log: .* aborted: Cannot find Port with name=(qvo|tap)",
        "a server is deleted while the agent prepares its port, which the switch has no more",
    ),
    (
        r"^ceilometer\.log: .* ERROR ceilometer\.compute\.virt\.libvirt\.utils .*Domain not found",
        "a server is deleted while it is measured: libvirt does not know it any more",
    ),
    (
        r"^aodh\.log: .*Could not load 'prometheus': .*metric-storage",
        "Aodh tries all kinds of alarms there are; this one needs a Prometheus, which nobody has",
    ),
)
"""Pattern over ``LOG: LINE``, and why it is no defect."""


def unexpected(lines: list[str]) -> list[str]:
    return [line for line in lines if not any(re.search(p, line) for p, _ in KNOWN)]
