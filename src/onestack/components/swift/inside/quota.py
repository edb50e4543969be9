"""A filter in the proxy's pipeline: an object that fits nowhere is refused with 507 and a reason.

The storage server refuses it too, with 507; the proxy then answers 503, as for
any server that fails, and the client tries again and again what cannot work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from swift.common.swob import HTTPInsufficientStorage, Request
from swift.common.utils import config_fallocate_value, ismount

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Room:
    def __init__(self, app: Application, conf: dict[str, str]) -> None:
        self._app = app
        self._devices = Path(conf["devices"])
        self._reserve, self._percent = config_fallocate_value(conf.get("fallocate_reserve", "1%"))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            request = Request(environ)
            _, _, container, name = request.split_path(2, 4, True)
            size = request.content_length or 0
            # Containers are rows, and need no more room than a tombstone.
            if container and name and (free := self.free()) < size:
                body = (
                    f"The object store has room for {free} bytes and the object has {size}: "
                    "delete objects, or let it grow (CONFIG_SWIFT_STORAGE_SIZE).\n"
                )
                refused: Iterable[bytes] = HTTPInsufficientStorage(
                    request=request, body=body, content_type="text/plain"
                )(environ, start_response)
                return refused
        return self._app(environ, start_response)

    def free(self) -> int:
        """Bytes that the roomiest device takes, as the storage servers count them."""
        found = 0
        for device in self._devices.iterdir():
            # Without its disk it is a directory of the machine's own disk.
            if not ismount(device):
                continue
            state = os.statvfs(device)
            total = state.f_frsize * state.f_blocks
            kept = total * self._reserve // 100 if self._percent else self._reserve
            found = max(found, state.f_frsize * state.f_bavail - int(kept))
        return max(0, found)


def filter_factory(global_conf: dict[str, str], **local: str) -> Callable[[Application], Room]:
    conf = {**global_conf, **local}
    return lambda app: Room(app, conf)
