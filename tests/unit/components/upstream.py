"""What rooms read of the release's own files, for clouds whose release is not installed."""

from __future__ import annotations

from onestack.model.context import Context
from tests.support.environments import make

UPSTREAM = {
    "gnocchi/rest/api-paste.ini": "[app:gnocchi]\nuse = egg:gnocchi\n",
    "aodh/api/api-paste.ini": "[app:aodh]\nuse = egg:aodh\n",
    "ceilometer/publisher/data/gnocchi_resources.yaml": """---
archive_policy_default: ceilometer-low
archive_policies:
  - name: ceilometer-low
    definition:
      - granularity: 5 minutes

resources:
  - resource_type: instance
    metrics:
      memory:
      cpu:
        archive_policy_name: ceilometer-low-rate
    event_delete: compute.instance.delete.start
""",
}


def write_upstream(ctx: Context) -> None:
    """Put them where the release of ``ctx`` would have them."""
    make(ctx.release.services, UPSTREAM)
