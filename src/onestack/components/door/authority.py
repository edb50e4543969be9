"""The hosts' authority: what the cloud's hosts are known by, and its door.

It is not the one of the public front, which the operator may have given and which signs for
others too: whatever is by this one is the door's or a host's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from onestack.components.hosts import ca, directory, joined_folder, own
from onestack.host.files import ensure_file, ensure_owner, write_file
from onestack.model.change import Change
from onestack.model.context import Context

# Everything of cryptography's is imported late: answers and checks run without it.


def ca_key(ctx: Context) -> Path:
    """The door's, which signs for hosts."""
    return ca(ctx).with_suffix(".key")


def server(ctx: Context) -> Path:
    """The door's certificate, with its key: the front's."""
    return directory(ctx) / "server.pem"


def revoked(ctx: Context) -> Path:
    """Certificates of hosts that were removed and have not ended: a list of the authority's."""
    return directory(ctx) / "revoked.pem"


def ensure_certificates(
    ctx: Context, signers: str, front: str, gone: Sequence[str] = ()
) -> Iterator[Change]:
    """The authority, for ``signers`` to use, and the door's certificate for ``front``'s group.

    ``gone`` are serial numbers of certificates that are good no more.
    """
    from onestack.components import certificates

    files = ca(ctx), ca_key(ctx)
    name = f"Authority for hosts of the cloud {ctx.cloud.name}"
    yield from ensure_ca(files, "make the authority for the cloud's hosts", name, signers)
    if not certificates.good(server(ctx), ca(ctx)):
        yield Change("make the certificate of the cloud's door", lambda: _make(ctx, front))
    else:
        yield from ensure_owner(server(ctx), "root", front, 0o640)
    told = f"write down which certificates of hosts are good no more ({len(gone)})"
    yield from ensure_revoked(files, revoked(ctx), gone, told, mode=0o640, group=front)


def ensure_ca(files: tuple[Path, Path], what: str, name: str, signers: str) -> Iterator[Change]:
    """An authority, of the certificate and the key of ``files``, for ``signers`` to use."""
    from onestack.components import certificates

    if certificates.belong_together(*files):
        yield from ensure_owner(files[1], "root", signers, 0o640)
        return
    subject = certificates.named(name)
    yield Change(what, functools.partial(certificates.make_ca, *files, subject, signers))


def ensure_revoked(
    files: tuple[Path, Path],
    place: Path,
    gone: Sequence[str],
    what: str,
    *,
    mode: int,
    group: str = "root",
) -> Iterator[Change]:
    """The list of an authority's certificates that are good no more: serial numbers, in hex."""
    if _listed(place, files[0]) == {*gone}:
        return

    def write() -> None:
        from onestack.components import certificates

        text = certificates.revocations(*files, [int(each, 16) for each in gone])
        write_file(place, text, mode=mode, group=group)

    yield Change(what, write)


def _make(ctx: Context, group: str) -> None:
    from cryptography import x509

    from onestack.cluster.protocol import PASSAGE, SERVER
    from onestack.components import certificates

    made = certificates.sign(
        ca(ctx),
        ca_key(ctx),
        certificates.named(f"Door of the cloud {ctx.cloud.name}"),
        certificates.SERVER,
        [x509.DNSName(SERVER), x509.DNSName(f"*{PASSAGE}")],
    )
    write_file(server(ctx), made.certificate + made.key, mode=0o640, group=group)


def _listed(file: Path, by: Path) -> set[str] | None:
    """Serial numbers in an authority's list; ``None`` where there is no good one."""
    from cryptography import x509

    from onestack.components import certificates

    try:
        found = x509.load_pem_x509_crl(file.read_bytes())
        authority = x509.load_pem_x509_certificate(by.read_bytes())
    except certificates.UNFIT:
        return None
    if not found.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
        return None
    return {f"{one.serial_number:x}" for one in found}


def digest(certificate: Path) -> str:
    """SHA-256 of the authority (DER), as tokens have it. Raises `OSError` and `ValueError`."""
    import hashlib
    import ssl

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


def ensure_shown(ctx: Context) -> Iterator[Change]:
    """On a host that has joined: what its daemons show, as it was given.

    HAProxy wants certificate and key in one file, OVN in two.
    """
    kept, tls = joined_folder(ctx.cloud.etc), own(ctx)
    certificate, key = ((kept / name).read_text() for name in ("certificate.pem", "key.pem"))
    files = {tls.ca: (kept / "ca.pem").read_text(), tls.certificate: certificate, tls.key: key}
    for path, text in {**files, shown(ctx): certificate + key}.items():
        yield from ensure_file(path, text, mode=0o640, group=tls.group)


def shown(ctx: Context) -> Path:
    """Certificate and key of a host that has joined."""
    return directory(ctx) / "passage.pem"
