"""Which host has what: by roles alone, so that the same cloud is always placed the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onestack.model.errors import OnestackError


def place(
    wanted: Mapping[str, Iterable[str]], hosts: Mapping[str, Iterable[str]]
) -> dict[str, tuple[str, ...]]:
    """Host to the names of what it has, in the order of ``wanted``.

    ``wanted`` is name to the roles of which a host must have one, ``hosts`` is host to
    its roles. Raises `OnestackError` for what no host has a role for.
    """
    roles = {name: frozenset(own) for name, own in wanted.items()}
    placed = {
        host: tuple(name for name, own in roles.items() if not own.isdisjoint(given))
        for host, given in ((host, frozenset(given)) for host, given in hosts.items())
    }
    everywhere = {name for names in placed.values() for name in names}
    if nowhere := [name for name in roles if name not in everywhere]:
        missing = sorted({" or ".join(sorted(roles[name])) for name in nowhere})
        raise OnestackError(
            f"no host of the cloud may have {', '.join(nowhere)}",
            f"each needs a host with the role {', or '.join(missing)}; there are: "
            + ("; ".join(f"{h} ({', '.join(sorted(own))})" for h, own in hosts.items()) or "none"),
            "give a host that role, or switch off what needs it",
        )
    return placed
