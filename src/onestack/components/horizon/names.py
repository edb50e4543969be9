"""The names that a certificate is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509


def names_of(certificate: Path) -> Iterator[str]:
    """As Django's ``ALLOWED_HOSTS`` has them: ``*.example.org`` becomes ``.example.org``."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in names.get_values_for_type(x509.DNSName):
        yield name.removeprefix("*")
    for address in names.get_values_for_type(x509.IPAddress):
        yield str(address)
