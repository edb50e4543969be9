"""Flavors and images through the cloud's own APIs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from keystoneauth1.session import Session

from onestack.cloud import CACHE
from onestack.cloudapi.session import admin_session
from onestack.components.base import Context
from onestack.host.change import Change
from onestack.images import guest
from onestack.images.fetch import cached, fetch, shown


@dataclass(frozen=True)
class Flavor:
    """``memory`` in MiB, ``disk`` in GiB."""

    name: str
    cpus: int
    memory: int
    disk: int


FLAVORS = (
    Flavor("m1.nano", 1, 192, 1),
    Flavor("m1.tiny", 1, 512, 1),
    Flavor("m1.small", 1, 2048, 20),
    Flavor("m1.medium", 2, 4096, 40),
    Flavor("m1.large", 4, 8192, 80),
)
"""The names upstream's documentation and tests have always used."""


def ensure_flavors(ctx: Context) -> Iterator[Change]:
    """`FLAVORS`, on a cloud that has no flavor at all; an operator's own choice stays."""
    session = admin_session(ctx)
    url = f"http://{ctx.internal}:8774/v2.1/flavors"
    if session.get(url, params={"is_public": "None"}).json()["flavors"]:
        return
    for flavor in FLAVORS:

        def make(flavor: Flavor = flavor) -> None:
            body = {
                "name": flavor.name,
                "vcpus": flavor.cpus,
                "ram": flavor.memory,
                "disk": flavor.disk,
            }
            session.post(url, json={"flavor": body})

        yield Change(f"make the flavor {flavor.name}", make)


def ensure_fetched(ctx: Context) -> Iterator[Change]:
    """The demo image, or what the test guest is built from, in the cache."""
    source, cache = str(ctx.answers["CONFIG_PROVISION_IMAGE_URL"]), CACHE / "images"
    if source and not cached(source, cache):
        yield Change(f"fetch the image {shown(source)}", lambda: _ignore(fetch(source, cache)))
    elif not source and not guest.fetched(cache):
        yield Change("fetch the test guest's packages", lambda: guest.fetch_packages(cache))


def ensure_image(ctx: Context) -> Iterator[Change]:
    """The demo image, uploaded whole: one left ``queued`` by an interrupted run goes first."""
    session = admin_session(ctx)
    url = f"http://{ctx.internal}:9292/v2/images"
    name = str(ctx.answers["CONFIG_PROVISION_IMAGE_NAME"])
    present = session.get(url, params={"name": name}).json()["images"]
    if any(image["status"] == "active" for image in present):
        return
    for image in present:
        yield Change(
            f"remove the unfinished image {name}",
            functools.partial(_delete, session, f"{url}/{image['id']}"),
        )
    yield Change(f"upload the image {name}", lambda: _upload(ctx, session, url, name))


def _ignore(result: object) -> None:
    """A change has no result."""


def _delete(session: Session, url: str) -> None:
    session.delete(url)


def _upload(ctx: Context, session: Session, url: str, name: str) -> None:
    source = str(ctx.answers["CONFIG_PROVISION_IMAGE_URL"])
    if source:
        path = fetch(source, CACHE / "images")
        disk_format = str(ctx.answers["CONFIG_PROVISION_IMAGE_FORMAT"])
    else:
        path, disk_format = guest.cached_test_guest(CACHE / "images"), "qcow2"
    body = {
        "name": name,
        "disk_format": disk_format,
        "container_format": "bare",
        "visibility": "public",
    }
    image = session.post(url, json=body).json()["id"]
    with path.open("rb") as content:
        session.put(
            f"{url}/{image}/file",
            data=content,
            headers={"Content-Type": "application/octet-stream"},
        )
