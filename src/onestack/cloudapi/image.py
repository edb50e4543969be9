"""The image service's API, as far as it is needed here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keystoneauth1.exceptions import NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.session import admin_session

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]
_PATCH = "application/openstack-images-v2.1-json-patch"


@dataclass(frozen=True)
class Images:
    """``url`` is that of the list of images."""

    session: Session
    url: str

    def all(self, **query: str) -> list[Item]:
        items: list[Item] = self.session.get(self.url, params=query).json()["images"]
        return items

    def upload(self, path: Path, **body: Any) -> None:
        """A new image with the content of ``path``; interrupted, it is not ``active``."""
        image = self.session.post(self.url, json=body).json()["id"]
        with path.open("rb") as content:
            self.session.put(
                f"{self.url}/{image}/file",
                data=content,
                headers={"Content-Type": "application/octet-stream"},
            )

    def describe(self, image: Item, properties: Mapping[str, str]) -> None:
        self._patch(
            image,
            [
                {"op": "replace" if name in image else "add", "path": f"/{name}", "value": value}
                for name, value in properties.items()
            ],
        )

    def undescribe(self, image: Item, names: Iterable[str]) -> None:
        """Without these of its properties."""
        self._patch(image, [{"op": "remove", "path": f"/{name}"} for name in names])

    def _patch(self, image: Item, patch: list[Item]) -> None:
        headers = {"Content-Type": _PATCH}
        self.session.patch(f"{self.url}/{image['id']}", data=json.dumps(patch), headers=headers)

    def delete(self, image: Item) -> None:
        """One that is gone already is no mistake."""
        with contextlib.suppress(NotFound):
            self.session.delete(f"{self.url}/{image['id']}")


def images_of(ctx: Context) -> Images:
    return Images(admin_session(ctx), f"{ctx.url('image')}/v2/images")
