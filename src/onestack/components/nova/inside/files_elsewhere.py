"""Files of a server at another host, by the TLS that the hosts' libvirtds have between them.

Upstream's ways there are ssh and rsync, each with a shell for whoever has the key. What libvirt
has for images does: the other host's libvirtd opens a server's folder as a pool that it forgets
again, and takes files into it as they are, holes included. (Services' environment.)
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import libvirt
from lxml import etree
from nova import context, exception, objects
from nova.conf import CONF
from nova.virt.libvirt.volume import remotefs
from oslo_log import log

PORT = 16514
"""libvirt's own, as `onestack.components.libvirt` has it opened."""
SILENT = (5, 6)
"""Seconds between two questions whether the other end lives, and how many may go unanswered."""
TOLD = 5.0
"""Seconds between two words on how far a copy is."""
PART = 256 * 1024 - 24
"""Bytes of a stream's packet that every libvirt takes."""
DIRECTORY = 0o755
"""As nova's own are, under the umask that services have. The folder of all lets nobody list it."""
FOLDER, FILE = 1, 2
"""How deep a server's are in nova's folder of servers; images' files are as deep as its own."""
OURS = "onestack-"
"""Begins the names of pools that are ours."""

LOG = log.getLogger("nova.onestack.files_elsewhere")
_copying = threading.local()
"""What is told how far a copy is, in this thread."""


@contextmanager
def telling(far: Callable[[int], None]) -> Iterator[None]:
    """``far`` is told the percentage of a file that this thread copies, each few seconds."""
    _copying.far = far
    try:
        yield
    finally:
        del _copying.far


class OverTls(remotefs.RemoteFilesystemDriver):  # type: ignore[misc]
    """``shown`` is the folder with what libvirt's client shows (``pkipath``), and knows hosts by.

    ``controller`` is where the controller is reached, which calls itself by loopback; on the
    controller it is empty. Nothing outside of nova's folder of servers is touched, on either end.
    """

    def __init__(self, shown: str, controller: str = "", port: int = PORT) -> None:
        self._shown, self._controller, self._port = shown, controller, port

    def create_file(self, host: str, dst_path: str, **unused: Any) -> None:
        """Where its folder is not there it fails, as upstream's do: so hosts that share theirs are
        told from those that do not."""
        path = _inside(dst_path, FILE)
        with self._connected(host) as there, _folder(there, path.parent) as pool:
            pool.createXML(_volume(path.name, 0o644, _owner(there)))

    def remove_file(self, host: str, dst_path: str, **unused: Any) -> None:
        path = _inside(dst_path, FILE)
        with self._connected(host) as there, _folder(there, path.parent) as pool:
            pool.storageVolLookupByName(path.name).delete()

    def create_dir(self, host: str, dst_path: str, **unused: Any) -> None:
        """One that is there already is no mistake. Raises what leaves the server as it was."""
        path = _inside(dst_path, FOLDER)
        try:
            with self._connected(host) as there, _folder(there, path, _owner(there)):
                pass
        except exception.MigrationError as problem:
            raise exception.InstanceFaultRollback(problem) from problem

    def remove_dir(self, host: str, dst_path: str, **unused: Any) -> None:
        """With the files in it; one that is not there is no mistake.

        One that hosts share stays: it is this host's too. Upstream asks whether they do, and takes
        it for a no where nobody answered.
        """
        path = _inside(dst_path, FOLDER)
        with self._connected(host) as there:
            if not _is_there(there, path):
                return
            with _folder(there, path) as pool:
                asked = path / f"{uuid.uuid4().hex}.tmp"
                made = pool.createXML(_volume(asked.name, 0o644, _owner(there)))
                if asked.exists():
                    made.delete()
                    return
                for volume in pool.listAllVolumes():
                    volume.delete()
            _standing(there, _servers()).storageVolLookupByName(path.name).delete()

    def copy_file(self, src: str, dst: str, **unused: Any) -> None:
        """One of the two is of another host (``HOST:PATH``, IPv6 in brackets); it takes the place
        of what is there. Compression would cost more than it saves: there is none."""
        if not src.startswith("/"):
            host, source = _elsewhere(src)
            self._fetch(host, source, _inside(dst, FILE))
        else:
            host, target = _elsewhere(dst)
            self._send(_inside(src, FILE), host, target)

    def _send(self, source: Path, host: str, target: Path) -> None:
        with (
            source.open("rb") as file,
            self._connected(host) as there,
            _folder(there, target.parent) as pool,
        ):
            about = os.fstat(file.fileno())
            if target.name in pool.listVolumes():
                pool.storageVolLookupByName(target.name).delete()
            wanted = _volume(target.name, about.st_mode & 0o777, _owner(there))
            volume, stream = pool.createXML(wanted), there.newStream()
            try:
                sparse = libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
                volume.upload(stream, 0, about.st_size, sparse)
                _poured(file.fileno(), about.st_size, stream, f"{source} to {host}")
                stream.finish()
                # libvirtd says nothing of what it could not write behind the last word
                _, _, length = volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)
                if length != about.st_size:
                    reason = f"{source} to {host}: {length} of {about.st_size} bytes were written"
                    raise exception.MigrationError(reason=f"{reason}; its disk may be full")
            except BaseException:
                with contextlib.suppress(libvirt.libvirtError):
                    stream.abort()
                # half a file is of no use to anybody, and takes room
                with contextlib.suppress(libvirt.libvirtError):
                    volume.delete()
                raise

    def _fetch(self, host: str, source: Path, target: Path) -> None:
        part = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
        try:
            with part.open("xb") as file, self._connected(host) as there:
                pool = _standing(there, source.parent)
                pool.refresh()
                volume, stream = pool.storageVolLookupByName(source.name), there.newStream()
                sparse = libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM
                volume.download(stream, 0, 0, sparse)
                stream.sparseRecvAll(_write, _skip, file)
                file.truncate()
                stream.finish()
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _connected(self, host: str) -> Iterator[Any]:
        """A libvirtd's connection; what goes wrong with it is said with its name.

        Raises `MigrationError`.
        """
        address = self._address(host)
        bracketed = f"[{address}]" if ":" in address else address
        place = f"qemu+tls://{bracketed}:{self._port}/system?pkipath={self._shown}"
        try:
            there = libvirt.open(place)
            try:
                there.setKeepAlive(*SILENT)
                yield there
            finally:
                there.close()
        except libvirt.libvirtError as problem:
            raise exception.MigrationError(reason=f"the libvirtd of {host}: {problem}") from problem

    def _address(self, host: str) -> str:
        """By address as migrations have it, or by the name of its compute service."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host))
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            context.get_admin_context(), host
        )
        if ipaddress.ip_address(str(node.host_ip)).is_loopback:
            return self._controller
        return str(node.host_ip)


def copy_over_tls(shown: str, controller: str) -> None:
    """Must come before libvirt's driver is made: nova's way to other hosts' files is ours.

    Which one it takes is written into its options, of which ours can be none.
    """
    remotefs.SshDriver = functools.partial(OverTls, shown, controller)


def _servers() -> Path:
    return Path(CONF.instances_path)


def _inside(path: str, depth: int) -> Path:
    """As it is, if it is so deep in nova's folder of servers: 1 a server's folder, 2 a file in one.

    Raises `MigrationError`.
    """
    found = Path(path)
    parents = list(found.parents)
    if ".." in found.parts or parents[depth - 1 : depth] != [_servers()]:
        raise exception.MigrationError(reason=f"{path} is no server's: nothing is copied")
    return found


def _elsewhere(text: str) -> tuple[str, Path]:
    host, path = text.split(":/", 1)
    return host.strip("[]"), _inside(f"/{path}", FILE)


def _standing(there: Any, path: Path) -> Any:
    """A folder as a pool that stays, for what several may look at: of all servers, of images."""
    with contextlib.suppress(libvirt.libvirtError):
        return there.storagePoolLookupByTargetPath(str(path))
    try:
        return there.storagePoolCreateXML(_pool(str(path)))
    except libvirt.libvirtError:
        # another one was faster
        with contextlib.suppress(libvirt.libvirtError):
            return there.storagePoolLookupByTargetPath(str(path))
        raise


def _is_there(there: Any, path: Path) -> bool:
    """A server's folder, by now."""
    parent = _standing(there, _servers())
    parent.refresh()
    return path.name in parent.listVolumes()


def _owner(there: Any) -> tuple[str, str]:
    """Nova's user and group there, which may have other numbers than here."""
    known = etree.fromstring(_standing(there, _servers()).XMLDesc()).find("./target/permissions")
    return known.findtext("owner"), known.findtext("group")


@contextmanager
def _folder(there: Any, path: Path, owner: tuple[str, str] | None = None) -> Iterator[Any]:
    """The folder of one server, as a pool; with an ``owner`` it is made where it is not.

    Raises `MigrationError`, or libvirt's error.
    """
    if not owner and not _is_there(there, path):
        # libvirtd would log that as an error
        raise exception.MigrationError(reason=f"{path} is not there")
    # Whoever was killed with it open has left it; nova is at one server once at a time.
    with contextlib.suppress(libvirt.libvirtError):
        left = there.storagePoolLookupByTargetPath(str(path))
        if left.name().startswith(OURS):
            left.destroy()
    build = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD if owner else 0
    pool = there.storagePoolCreateXML(_pool(str(path), owner), build)
    try:
        yield pool
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            pool.destroy()


def _pool(path: str, owner: tuple[str, str] | None = None) -> str:
    access = _access(DIRECTORY, owner) if owner else ""
    return (
        f"<pool type='dir'><name>{OURS}{uuid.uuid4()}</name>"
        f"<target><path>{escape(path)}</path>{access}</target></pool>"
    )


def _volume(name: str, mode: int, owner: tuple[str, str]) -> str:
    """A file that is taken as it is, whatever is in it; as long as what is written into it."""
    return (
        f"<volume><name>{escape(name)}</name><capacity>0</capacity><allocation>0</allocation>"
        f"<target><format type='raw'/>{_access(mode, owner)}</target></volume>"
    )


def _access(mode: int, owner: tuple[str, str]) -> str:
    user, group = owner
    return (
        f"<permissions><mode>0{mode:o}</mode><owner>{user}</owner><group>{group}</group>"
        "</permissions>"
    )


def _poured(file: int, size: int, stream: Any, what: str) -> None:
    at, said = 0, time.monotonic()
    for begin, end in _filled(file, size):
        if begin > at:
            stream.sendHole(begin - at)
        at = begin
        while at < end:
            part = os.pread(file, min(PART, end - at), at)
            if not part:
                raise exception.MigrationError(reason=f"{what}: the file has become shorter")
            while part:
                sent = stream.send(part)
                part, at = part[sent:], at + sent
            if time.monotonic() - said > TOLD:
                said = time.monotonic()
                LOG.info("%s: %d of %d MiB", what, at >> 20, size >> 20)
                if far := getattr(_copying, "far", None):
                    far(100 * at // size)
    if size > at:
        stream.sendHole(size - at)


def _filled(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of what is no hole."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # there is none behind that
            return
        end = min(size, os.lseek(file, begin, os.SEEK_HOLE))
        yield begin, end


def _write(stream: Any, data: bytes, file: Any) -> int:
    return int(file.write(data))


def _skip(stream: Any, length: int, file: Any) -> None:
    file.seek(length, os.SEEK_CUR)
