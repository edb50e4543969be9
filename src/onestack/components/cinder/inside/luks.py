"""Encrypted volumes: files with a LUKS header, which QEMU opens with the volume's key.

A file has the volume's size, header and all, as on any storage where nova lets QEMU decrypt. The
key is in no file and on no command line: qemu-img reads it from memory that it inherits.
"""

from __future__ import annotations

import binascii
import os
import subprocess
from pathlib import Path
from typing import Any

from castellan import key_manager
from castellan.common.exception import CastellanException
from cinder import exception
from cinder.image import image_utils
from cinder.volume import volume_utils
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import units

from onestack.components.cinder.inside.refusals import (
    HEADER,
    NO_KEY,
    PROVIDER,
    Refused,
    failure,
)

LOG = logging.getLogger(__name__)
ITERATIONS = 10
"""Milliseconds of work to open a volume. More of it guards passwords that people make up; these
are keys of 256 random bits, and each start of a server would wait for it."""
HASH = "sha512"
"""Where the kernel counts processors' time in ticks, qemu-img often finds that the usual one, whose
speed it measures, took none, and gives up. This one takes longer than a tick, nearly always."""
_TOO_FAST = "Unable to get accurate CPU usage"
_TIMES = 5
_TIMEOUT = 24 * 3600.0
"""Seconds for what copies a volume's content."""


def passphrase_of(volume: Any, context: Any) -> bytes:
    """As nova makes it of the key that the key manager has for ``volume``. Raises `Refused`."""
    try:
        key = key_manager.API(cfg.CONF).get(context, volume.encryption_key_id)
    except (CastellanException, exception.InvalidVolume) as problem:
        LOG.error("The key of volume %s could not be had: %s", volume.id, problem)
        raise Refused(NO_KEY) from problem
    return binascii.hexlify(key.get_encoded())


def header(volume: Any, context: Any, path: Path) -> None:
    """Give the empty file at ``path`` what lets it be opened with the volume's key."""
    own = ["key-secret=key", f"iter-time={ITERATIONS}", f"hash-alg={HASH}"]
    options = ",".join((*own, *_cipher(volume, context)))
    words = ["create", "-q", "-f", "luks", "-o", options, str(path), "0"]
    _qemu_img(words, passphrase_of(volume, context))


def copy_header(source: Path, path: Path) -> None:
    """Give the empty file at ``path`` the header of ``source``, and nothing behind it."""
    with source.open("rb") as encrypted, path.open("r+b") as file:
        file.write(encrypted.read(_offset(source)))


def fill(volume: Any, context: Any, plain: Path, path: Path) -> None:
    """Encrypt the content of ``plain`` into the file at ``path``, of the volume's size by now.

    Raises `Refused` where it has no room for it behind the header.
    """
    phrase = passphrase_of(volume, context)
    name = str(path).replace(",", ",,")
    target = f"driver=luks,key-secret=key,file.driver=file,file.filename={name}"
    size = plain.stat().st_size
    if size > path.stat().st_size - _offset(path):
        image = round(size / units.Gi, 2)
        raise Refused(HEADER, image=image, size=volume.size, enough=int(volume.size) + 1)
    words = ["convert", "-q", "-n", "-f", "raw", "--target-image-opts", str(plain), target]
    _qemu_img(words, phrase)


def _cipher(volume: Any, context: Any) -> list[str]:
    try:
        how = volume_utils.check_encryption_provider(volume, context)
        spec = image_utils.decode_cipher(how["cipher"], how["key_size"])
    except (exception.VolumeDriverException, exception.InvalidVolumeType) as problem:
        raise Refused(PROVIDER) from problem
    names = {"cipher_alg": "cipher-alg", "cipher_mode": "cipher-mode", "ivgen_alg": "ivgen-alg"}
    return [f"{name}={spec[key]}" for key, name in names.items()]


def _offset(path: Path) -> int:
    """Bytes before the content; of linux/Documentation's LUKS1: its sector, big-endian."""
    with path.open("rb") as file:
        file.seek(104)
        return int.from_bytes(file.read(4), "big") * 512


def _qemu_img(words: list[str], phrase: bytes) -> None:
    for _ in range(_TIMES):
        done = _tried(words, phrase)
        if _TOO_FAST not in done.stderr:
            break
    if done.returncode:
        raise failure(f"qemu-img {words[0]} failed: {done.stderr.strip()}")


def _tried(words: list[str], phrase: bytes) -> subprocess.CompletedProcess[str]:
    memory = os.memfd_create("key")
    try:
        os.write(memory, phrase)
        secret = f"secret,id=key,format=raw,file=/proc/self/fd/{memory}"
        return subprocess.run(
            ["qemu-img", words[0], "--object", secret, *words[1:]],
            pass_fds=(memory,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    finally:
        os.close(memory)
