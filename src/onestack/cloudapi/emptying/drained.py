"""What is listed to a member of the project alone: objects, secrets, groups of servers, alarms."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from keystoneauth1.session import Session

from onestack.cloudapi.emptying.belonging import PAUSE, Item
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

_NOTHING = (204, 404, 410)
"""Swift's answers for an account, or a container, without anything, that is not there, or that
it is removing by itself. Any other that brings no list tells nothing.
"""
_LAGS = 20.0
"""Seconds for which a listing may show what is gone."""


def server_groups(ctx: Context, own: Session) -> None:
    url = f"{ctx.url('compute')}/os-server-groups"

    def there() -> list[Item]:
        found: list[Item] = own.get(url).json()["server_groups"]
        return found

    _drain(there, lambda group: own.delete(f"{url}/{group['id']}", raise_exc=False))


def alarms(ctx: Context, own: Session, project: str) -> None:
    """They would be looked after for ever."""
    url = f"{ctx.url('alarming')}/v2/alarms"

    def there() -> list[Item]:
        return [alarm for alarm in own.get(url).json() if alarm["project_id"] == project]

    _drain(there, lambda alarm: own.delete(f"{url}/{alarm['alarm_id']}", raise_exc=False))


def secrets(ctx: Context, own: Session, listed: str) -> None:
    """Barbican names them by where they are, which is its public address."""
    url = f"{ctx.url('key-manager')}/v1/{listed}"

    def there() -> list[Item]:
        found: list[Item] = own.get(url, params={"limit": "100"}).json()[listed]
        return found

    def remove(item: Item) -> None:
        identity = item[f"{listed.removesuffix('s')}_ref"].rpartition("/")[2]
        own.delete(f"{url}/{identity}", raise_exc=False)

    _drain(there, remove)


def objects(ctx: Context, own: Session, project: str) -> None:
    account = f"{ctx.url('object-store')}/v1/AUTH_{project}"

    def containers() -> list[Item]:
        return _listed(own, account, {"format": "json"})

    def remove(container: Item) -> None:
        place = f"{account}/{quote(container['name'])}"
        # The objects, then what is kept of earlier ones.
        for more in ({}, {"versions": "true"}):
            asked = {"format": "json", **more}
            _drain(lambda asked=asked: _listed(own, place, asked), lambda o: _object(own, place, o))  # type: ignore[misc]
        own.delete(place, raise_exc=False)

    _drain(containers, remove)


def _listed(own: Session, place: str, asked: Mapping[str, str]) -> list[Item]:
    answer = own.get(place, params=asked, raise_exc=False)
    if answer.status_code in _NOTHING:
        return []
    if answer.status_code != 200:
        said = answer.text[:200].strip()
        raise OnestackError(f"GET {urlsplit(place).path} answers {answer.status_code}", said)
    found: list[Item] = answer.json()
    return found


def _object(own: Session, place: str, item: Item) -> None:
    of = {"version-id": item["version_id"]} if "version_id" in item else {}
    own.delete(f"{place}/{quote(item.get('name') or item['subdir'])}", params=of, raise_exc=False)


def _drain(there: Callable[[], list[Item]], remove: Callable[[Item], object]) -> None:
    """Until nothing is there; a listing may lag behind. Raises `OnestackError` if it stays."""
    until = time.monotonic() + _LAGS
    before: list[Item] = []
    while found := there():
        if found != before:
            until = time.monotonic() + _LAGS
        elif time.monotonic() > until:
            raise OnestackError(f"{len(found)} are still there")
        else:
            time.sleep(PAUSE)
        before = found
        for item in found:
            remove(item)
