"""Servers and load balancers, of everybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from keystoneauth1.session import Session

from onestack.cloudapi.balancers import balancers
from onestack.cloudapi.compute import Compute
from onestack.components.octavia import Octavia
from tests.unit.components.rooms import context

PAGE = 3
"""Nova gives no more at a time; of real ones a thousand."""


class Said:
    def __init__(self, found: Any) -> None:
        self._found = found

    def json(self) -> Any:
        return self._found


class Nova:
    """A list of servers, by pages, as nova tells of more."""

    def __init__(self, count: int) -> None:
        self.servers = [{"id": f"id-{n}", "name": f"vm-{n}"} for n in range(count)]
        self.asked: list[dict[str, str]] = []

    def get(self, url: str, params: dict[str, str]) -> Said:
        assert url == "http://nova/servers/detail"
        self.asked.append(dict(params))
        ids = [each["id"] for each in self.servers]
        first = ids.index(params["marker"]) + 1 if "marker" in params else 0
        page = self.servers[first : first + PAGE]
        # Nova says so of a full page, whether or not anything follows.
        links = {"servers_links": [{"rel": "next"}]} if len(page) == PAGE else {}
        return Said({"servers": page, **links})


def test_all_pages_are_read() -> None:
    for count, pages in ((0, 1), (2, 1), (3, 2), (7, 3)):
        nova = Nova(count)
        compute = Compute(cast(Session, nova), "http://nova")
        assert compute.everybodys() == nova.servers
        assert len(nova.asked) == pages
        assert all(asked["all_tenants"] == "True" for asked in nova.asked)


def test_load_balancers(tmp_path: Path) -> None:
    class Service:
        def get(self, url: str, params: dict[str, Any]) -> Said:
            assert url.endswith("/v2/lbaas/loadbalancers")
            assert params == {"fields": ["id", "name"]}
            return Said({"loadbalancers": [{"id": "1", "name": "web"}]})

    ctx = context(tmp_path, Octavia())
    ctx.run.once("administrator's session", Service)
    assert balancers(ctx, "id", "name") == [{"id": "1", "name": "web"}]
