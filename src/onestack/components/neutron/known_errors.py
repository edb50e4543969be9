"""What lines of neutron's logs most likely mean, whatever carries the networks."""

from __future__ import annotations

from onestack.model.declarations import KnownError

KNOWN_ERRORS = (
    KnownError(
        "Failed to bind port",
        "the port could not be bound: the network agent of that host is down, or the network's "
        "kind or physical network is unknown to it (`openstack network agent list`)",
    ),
    KnownError(
        "the supervisor, which runs commands as root, is away",
        "the supervisor is not running, so dnsmasq and haproxy cannot be started",
        "run up again",
    ),
    KnownError(
        "privsep helper command exited non-zero",
        "the supervisor did not start a privsep daemon; its reason is in the supervisor's log "
        "(`onestack logs supervisor`)",
    ),
    KnownError(
        "responded with Forbidden",
        "nova and neutron disagree about the secret of the metadata proxy",
        "`onestack up` writes both files anew",
    ),
    KnownError(
        "remote metadata server is temporarily unavailable",
        "nova's metadata API does not answer",
        "see `onestack status nova`",
    ),
    KnownError(
        "Unable to open stream to",
        "the Open vSwitch or OVN database does not answer yet",
        "see `onestack status openvswitch`",
    ),
    KnownError(
        "Bridge br-ex for physical network",
        "the external bridge is missing",
        "`onestack up` makes it",
    ),
)
