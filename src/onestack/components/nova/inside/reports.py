"""A compute service's reports that it is up, of which one is lost when the bus is started anew.

Upstream waits a minute for the answer, as for any, and reports nothing meanwhile: the host looks
down, and gets no servers. (Services' environment.)
"""

from __future__ import annotations

from typing import Any

from nova import objects
from nova.conductor import rpcapi
from nova.conf import CONF


class Conductor(rpcapi.ConductorAPI):  # type: ignore[misc]
    """Upstream's; a report is given up when the next one is due."""

    def object_action(
        self, context: Any, objinst: Any, objmethod: str, args: Any, kwargs: Any
    ) -> Any:
        if not isinstance(objinst, objects.Service):
            return super().object_action(context, objinst, objmethod, args, kwargs)
        asked = {"objinst": objinst, "objmethod": objmethod, "args": args, "kwargs": kwargs}
        client = self.client.prepare(timeout=CONF.report_interval)
        return client.call(context, "object_action", **asked)
