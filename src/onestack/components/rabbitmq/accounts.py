"""Who may use the bus: definitions that the broker imports, and the end of what is not in them.

It imports them at each start, and by that never takes anything away: an account that the
answers no longer have would keep its rights for ever.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onestack.components import bus
from onestack.components.hosts import DOOR
from onestack.components.rabbitmq import hosts
from onestack.model.context import Context
from onestack.model.declarations import BusAccount, BusPolicy

MAIN = "/"
"""The virtual host of all services."""
LONGEST = 32 * 1024 * 1024
"""Bytes of notifications that wait for a reader at most; the oldest go first."""
NOTIFICATIONS = BusPolicy(
    "notifications",
    r"^(notifications|alarming|alarm\.all)\.",
    {"max-length-bytes": LONGEST, "overflow": "drop-head"},
)
"""Queues that a service fills without knowing whether another reads them have an end."""


@dataclass(frozen=True)
class Account:
    """One of the bus, with its password."""

    declared: BusAccount
    password: str


def accounts(ctx: Context) -> list[Account]:
    """The one of all services, what components declare, and each host's.

    Raises `ValueError` for two alike.
    """
    user = str(ctx.answers["CONFIG_AMQP_AUTH_USER"])
    declared = [
        BusAccount(user, "rabbitmq", MAIN, policies=(NOTIFICATIONS,), **_standing(ctx)),
        *(account for declared in ctx.model for account in declared.bus),
    ]
    names = [account.user for account in declared]
    if len(set(names)) < len(names):
        raise ValueError(f"two accounts of the bus have one name: {', '.join(sorted(names))}")
    own = [Account(account, ctx.secrets[account.secret]) for account in declared]
    others = (
        Account(hosts.account(member, MAIN), member.accounts["messaging"].password)
        for member in ctx.members
    )
    return [*own, *others]


def _standing(ctx: Context) -> dict[str, Any]:
    """Queues of compute services, which may start later; what hosts that join use together."""
    door = ctx.offers(DOOR)
    if not door and not ctx.offers("compute"):
        return {}
    names = (ctx.host.name, *(member.name for member in ctx.members))
    own = tuple(queue for name in names for queue in bus.queues_of(name))
    if door:
        return {"exchanges": bus.EXCHANGES, "queues": (*bus.QUEUES, *own)}
    return {"exchanges": bus.EXCHANGES[:1], "queues": own}


def definitions(wanted: Iterable[Account]) -> str:
    """As the broker imports them; passwords are salted hashes."""
    wanted = tuple(wanted)
    declared = [account.declared for account in wanted]
    return json.dumps(
        {
            "vhosts": [{"name": vhost} for vhost in vhosts(declared)],
            "users": [_user(account) for account in wanted],
            "permissions": [
                {
                    "user": account.user,
                    "vhost": account.vhost,
                    "configure": account.configure,
                    "write": account.write,
                    "read": account.read,
                }
                for account in declared
            ],
            "topic_permissions": [
                {
                    "user": account.user,
                    "vhost": account.vhost,
                    "exchange": topic.exchange,
                    "write": topic.write,
                    "read": topic.read,
                }
                for account in declared
                for topic in account.topics
            ],
            "exchanges": [
                {
                    "vhost": account.vhost,
                    "name": exchange.name,
                    "type": exchange.kind,
                    "durable": exchange.durable,
                    "auto_delete": False,
                    "internal": False,
                    "arguments": {},
                }
                for account in declared
                for exchange in account.exchanges
            ],
            "queues": [
                {
                    "vhost": account.vhost,
                    "name": queue.name,
                    "durable": queue.durable,
                    "auto_delete": False,
                    "arguments": {},
                }
                for account in declared
                for queue in account.queues
            ],
            "bindings": [
                {
                    "vhost": account.vhost,
                    "source": queue.exchange,
                    "destination": queue.name,
                    "destination_type": "queue",
                    "routing_key": queue.name,
                    "arguments": {},
                }
                for account in declared
                for queue in account.queues
            ],
            "policies": [
                {
                    "vhost": account.vhost,
                    "name": policy.name,
                    "pattern": policy.pattern,
                    "apply-to": "queues",
                    "priority": 0,
                    "definition": dict(policy.definition),
                }
                for account in declared
                for policy in account.policies
            ],
        },
        indent=1,
    )


def vhosts(declared: Iterable[BusAccount]) -> list[str]:
    return list(dict.fromkeys((MAIN, *(account.vhost for account in declared))))


def _user(account: Account) -> Mapping[str, Any]:
    """The salt comes from the password too, so that the file is the same each time."""
    secret = account.password.encode()
    salt = hashlib.sha256(b"salt of " + secret).digest()[:4]
    hashed = salt + hashlib.sha256(salt + secret).digest()
    return {
        "name": account.declared.user,
        "password_hash": base64.b64encode(hashed).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [],
    }


def only(declared: Iterable[BusAccount]) -> str:
    """Erlang for a broker that has started: what is not of these is gone.

    With a virtual host go its queues, permissions and policies; with a user its connections.
    An exchange that is there as another was not imported: it is made anew, and loses its bindings,
    which whoever had them makes when it connects.
    """
    declared = tuple(declared)
    topics = [(a.user, a.vhost, t.exchange) for a in declared for t in a.topics]
    policies = [(a.vhost, p.name) for a in declared for p in a.policies]
    exchanges = [
        f"{{{_binary(a.vhost)},{_binary(e.name)},{e.kind},{str(e.durable).lower()}}}"
        for a in declared
        for e in a.exchanges
    ]
    lists = {
        "Vhosts": [_binary(vhost) for vhost in vhosts(declared)],
        "Users": [_binary(account.user) for account in declared],
        "Rights": [_tuple(account.user, account.vhost) for account in declared],
        "Topics": [_tuple(*topic) for topic in topics],
        "Policies": [_tuple(*policy) for policy in policies],
        "Exchanges": exchanges,
    }
    known = " ".join(f"{name} = [{','.join(items)}]," for name, items in lists.items())
    return f"{known} {_REST}"


_REST = """\
By = <<"onestack">>,
Told = fun(List, Keys) ->
    [list_to_tuple([proplists:get_value(Key, Item) || Key <- Keys]) || Item <- List] end,
[rabbit_vhost:delete(V, By) || V <- rabbit_vhost:list_names() -- Vhosts],
[rabbit_auth_backend_internal:delete_user(U, By)
    || {U} <- Told(rabbit_auth_backend_internal:list_users(), [user]) -- [{U} || U <- Users]],
[rabbit_auth_backend_internal:clear_permissions(U, V, By)
    || {U, V} <- Told(rabbit_auth_backend_internal:list_permissions(), [user, vhost]) -- Rights],
[rabbit_auth_backend_internal:clear_topic_permissions(U, V, E, By)
    || {U, V, E} <- Told(rabbit_auth_backend_internal:list_topic_permissions(),
                         [user, vhost, exchange]) -- Topics],
[rabbit_policy:delete(V, P, By)
    || {V, P} <- Told(rabbit_policy:list(), [vhost, name]) -- Policies],
As = fun(Found, Kind, Durable) ->
    catch rabbit_exchange:assert_equivalence(Found, Kind, Durable, false, false, []) end,
[begin
    rabbit_exchange:delete(Name, false, By),
    rabbit_exchange:declare(Name, Kind, Durable, false, false, [], By)
 end || {V, E, Kind, Durable} <- Exchanges, Name <- [rabbit_misc:r(V, exchange, E)],
        {ok, Found} <- [rabbit_exchange:lookup(Name)], As(Found, Kind, Durable) =/= ok],
ok."""


def _tuple(*texts: str) -> str:
    return "{" + ",".join(map(_binary, texts)) + "}"


def _binary(text: str) -> str:
    """An Erlang literal, whatever is in ``text``."""
    return f"<<{','.join(map(str, text.encode()))}>>"
