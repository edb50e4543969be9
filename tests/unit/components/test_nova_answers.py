"""What answers come to in nova's room."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.components.glance import Glance
from onestack.components.nova import Nova, pci
from tests.unit.components.rooms import content, context_on, machine

ROOM = Nova()
DEVICES = '[{"vendor_id":"8086","product_id":"10ca"},{"address":"0000:0a:00.0"}]'
ALIASES = '[{"name":"one","product_id":"1"},{"name":"two","product_id":"2"}]'


def test_devices_and_their_names_have_a_line_each(tmp_path: Path) -> None:
    given = {
        "CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST": DEVICES,
        "CONFIG_NOVA_PCI_ALIAS": ALIASES,
    }
    text = content(context_on(machine(), tmp_path, ROOM, **given), ROOM, "nova.conf")
    assert text.count("\ndevice_spec = {") == 2
    assert '\nalias = {"name": "one", "product_id": "1"}\nalias = {"name": "two"' in text
    assert "PciPassthroughFilter" in text
    plain = content(context_on(machine(), tmp_path, ROOM), ROOM, "nova.conf")
    assert "[pci]" not in plain and "PciPassthroughFilter" not in plain


@pytest.mark.parametrize(
    ("text", "says"),
    [("[", "JSON"), ('"x"', "JSON"), ("[{}]", "every device"), ("[1]", "JSON")],
)
def test_what_is_no_list_of_devices(text: str, says: str) -> None:
    assert says in (pci.wrong_devices(text) or "")


def test_an_alias_has_a_name() -> None:
    assert "no 'name'" in (pci.wrong_alias('[{"product_id":"1"}]') or "")
    assert pci.wrong_alias(ALIASES) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CONFIG_NEUTRON_INSTALL": "n"}, "removed nova's own networking"),
        ({"CONFIG_GLANCE_INSTALL": "n"}, "started from images"),
        ({"CONFIG_NOVA_PCI_ALIAS": ALIASES}, "lets guests have none"),
    ],
)
def test_contradictions(given: dict[str, str], says: str) -> None:
    (said,) = ROOM.validate(registry().answers(given))
    assert says in said


def test_the_console_may_have_a_certificate_of_its_own(tmp_path: Path) -> None:
    given = {"CONFIG_VNC_SSL_CERT": "/c", "CONFIG_VNC_SSL_KEY": "/k"}
    fronts = {f.name: f for f in ROOM.frontends(context_on(machine(), tmp_path, ROOM, **given))}
    own = fronts["novnc"].certificate
    assert own is not None and (own.certificate, own.key) == ("/c", "/k")
    assert fronts["nova"].certificate is None


@pytest.mark.parametrize("name", ["nova.conf", "nova-compute.conf"])
def test_a_server_gets_another_flavor_where_it_is(tmp_path: Path, name: str) -> None:
    text = content(context_on(machine(), tmp_path, ROOM), ROOM, name)
    assert "\nallow_resize_to_same_host = true\n" in text


def test_the_link_of_an_image_is_for_users(tmp_path: Path) -> None:
    ctx = context_on(machine(), tmp_path, ROOM, Glance())
    text = content(ctx, ROOM, "nova.conf")
    assert f"\nglance_link_prefix = {ctx.public_url('image')}\n" in text
    assert ctx.public in ctx.public_url("image")
