"""Vendor data: what every guest is told besides its own user data.

cloud-init reads its part as it reads user data. With it a guest trusts the
cloud's certificate authority, and so reaches the cloud's APIs: heat's, to say
that it is ready, or keystone's and swift's.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from onestack.host.files import write_file
from onestack.model.change import Change
from onestack.model.context import Context


def vendordata_file(ctx: Context) -> Path:
    return ctx.cloud.etc / "nova" / "vendor_data.json"


def ensure_vendordata(ctx: Context) -> Iterator[Change]:
    """The file with the certificate of the authority that is there."""
    certificate = ctx.authority
    path, group = vendordata_file(ctx), ctx.cloud.user("nova")
    # Not there yet in a dry run on a new machine.
    wanted = vendordata(certificate.read_text()) if certificate.is_file() else None
    if not path.is_file() or path.read_text() != wanted:
        yield Change(
            "let guests trust the cloud's certificate authority",
            lambda: write_file(path, vendordata(certificate.read_text()), mode=0o640, group=group),
        )


def vendordata(certificate: str) -> str:
    """JSON, as nova wants it, with YAML inside, as cloud-init wants it."""
    block = textwrap.indent(certificate.strip(), " " * 4)
    return json.dumps({"cloud-init": f"#cloud-config\nca_certs:\n  trusted:\n  - |\n{block}\n"})
