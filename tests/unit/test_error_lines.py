"""What the tests of clouds take for an error in a service's log."""

from __future__ import annotations

from tests.support.clouds import error_lines

HEAD = "2026-11-29 07:04:46.354 30335 ERROR ovsdbapp.transaction [None req-1 - -]"
LOG = f"""\
2026-11-29 07:04:46.300 30335 INFO neutron [-] well
{HEAD} Traceback (most recent call last):
  File "connection.py", line 118, in run
    txn.results.put(txn.do_commit())

ovsdbapp.backend.ovs_idl.idlutils.RowNotFound: Cannot find Chassis

2026-11-29 07:04:47.000 30335 WARNING neutron [-] Traceback (most recent call last):
ValueError: of a warning
2026-11-29 07:04:48.000 30335 ERROR neutron [-] alone
not of it
2026-11-29T07:04:49.000Z|00001|ovsdb|ERR|closed
2026-11-29  4:14:13 0 [ERROR] Aborting
"""


def test_errors_are_found_with_their_tracebacks_last_line() -> None:
    assert error_lines(LOG) == [
        f"{HEAD} Traceback (most recent call last): … "
        "ovsdbapp.backend.ovs_idl.idlutils.RowNotFound: Cannot find Chassis",
        "2026-11-29 07:04:48.000 30335 ERROR neutron [-] alone",
        "2026-11-29T07:04:49.000Z|00001|ovsdb|ERR|closed",
        "2026-11-29  4:14:13 0 [ERROR] Aborting",
    ]
