"""The services' configuration: what each project's installation guide says to set, no more.

Checked against the options of the release in tests/unit/test_conventional.py.
Sources: docs.openstack.org/{keystone,glance,placement,nova,neutron,cinder}/2026.2/install,
neutron's install/ovn; the cache and the workers as DevStack has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.conventional.place import HOST, PASSWORD, PORTS, REGION, Place
from onestack.components.cinder import PRIVSEP as CINDER_PRIVSEP
from onestack.components.neutron.config import PRIVSEP as NEUTRON_PRIVSEP
from onestack.components.nova import PRIVSEP as NOVA_PRIVSEP
from onestack.model.ini import Ini, Value

SHARE = "127.0.0.1:/volumes"
"""What cinder takes for an NFS export. See `mounts` in `bench.conventional.machine`."""
_COMMON = (
    *("keystonemiddleware.auth_token", "oslo.concurrency", "oslo.db", "oslo.log"),
    *("oslo.messaging", "oslo.middleware", "oslo.privsep"),
)
_AGENT = (*_COMMON, "neutron", "neutron.agent")


@dataclass(frozen=True)
class File:
    """``namespaces`` are oslo.config's, ``privsep`` upstream's contexts: who knows the options."""

    path: Path
    sections: Ini
    namespaces: tuple[str, ...]
    privsep: tuple[str, ...] = field(default=())


def files(place: Place) -> Iterator[File]:
    yield _keystone(place)
    yield _glance(place)
    yield _placement(place)
    yield _nova(place)
    yield from _neutron(place)
    yield _cinder(place)


def _database(user: str, name: str | None = None) -> dict[str, Value]:
    return {"connection": f"mysql+pymysql://{user}:{PASSWORD}@{HOST}/{name or user}"}


def _bus() -> dict[str, Value]:
    return {"transport_url": f"rabbit://openstack:{PASSWORD}@{HOST}:5672/"}


def _account(user: str) -> dict[str, Value]:
    return {
        "auth_url": f"http://{HOST}:{PORTS['keystone']}",
        "auth_type": "password",
        "project_domain_name": "Default",
        "user_domain_name": "Default",
        "project_name": "service",
        "username": user,
        "password": PASSWORD,
    }


def _authtoken(user: str) -> dict[str, Value]:
    return {
        "www_authenticate_uri": f"http://{HOST}:{PORTS['keystone']}",
        "memcached_servers": f"{HOST}:11211",
        **_account(user),
        "service_token_roles": "service",
        "service_token_roles_required": True,
    }


def _service_user(user: str) -> dict[str, Value]:
    return {"send_service_user_token": True, **_account(user)}


def _region(user: str) -> dict[str, Value]:
    return {**_account(user), "region_name": REGION}


def _privsep(place: Place, sections: dict[str, str], config: Path) -> Ini:
    """Guides go through sudo, whose place this takes: all is root's here."""
    command = f"{place.program('privsep-helper')} --config-file {config}"
    return {section: {"helper_command": command} for section in sections}


def _keystone(place: Place) -> File:
    data = place.lib / "keystone"
    return File(
        place.config("keystone"),
        {
            "database": _database("keystone"),
            "token": {"provider": "fernet"},
            "fernet_tokens": {"key_repository": str(data / "fernet-keys")},
            "fernet_receipts": {"key_repository": str(data / "fernet-keys")},
            "credential": {"key_repository": str(data / "credential-keys")},
            # Not of the guide's, but DevStack and Kolla have it.
            "cache": {
                "enabled": True,
                "backend": "oslo_cache.memcache_pool",
                "memcache_servers": [f"{HOST}:11211"],
            },
        },
        ("keystone", "oslo.cache", "oslo.db", "oslo.log", "oslo.messaging", "oslo.middleware"),
    )


def _glance(place: Place) -> File:
    data = place.lib / "glance"
    return File(
        place.config("glance", "glance-api.conf"),
        {
            "DEFAULT": {"enabled_backends": "fs:file"},
            "database": _database("glance"),
            "keystone_authtoken": _authtoken("glance"),
            "paste_deploy": {"flavor": "keystone"},
            "glance_store": {"default_backend": "fs"},
            "fs": {"filesystem_store_datadir": str(data / "images")},
            "os_glance_staging_store": {"filesystem_store_datadir": str(data / "staging")},
            "os_glance_tasks_store": {"filesystem_store_datadir": str(data / "tasks")},
            "oslo_concurrency": {"lock_path": str(data / "lock")},
        },
        (*_COMMON, "glance.api", "glance.store", "glance.multi_store"),
    )


def _placement(place: Place) -> File:
    return File(
        place.config("placement"),
        {
            "placement_database": _database("placement"),
            "keystone_authtoken": _authtoken("placement"),
        },
        ("placement.conf", "keystonemiddleware.auth_token", "oslo.log", "oslo.middleware"),
    )


def _nova(place: Place) -> File:
    config = place.config("nova")
    libvirt: dict[str, Value] = {"virt_type": "kvm"}
    if not place.kvm:
        libvirt = {"virt_type": "qemu", "cpu_mode": "none"}
    return File(
        config,
        {
            "DEFAULT": {
                **_bus(),
                "my_ip": HOST,
                "state_path": str(place.lib / "nova"),
                "compute_driver": "libvirt.LibvirtDriver",
                # onestack's, which are packstack's: with upstream's 4.0 two cores are full of 8.
                "cpu_allocation_ratio": 16.0,
                "ram_allocation_ratio": 1.5,
            },
            "api_database": _database("nova", "nova_api"),
            "database": _database("nova"),
            "keystone_authtoken": _authtoken("nova"),
            "service_user": _service_user("nova"),
            "vnc": {
                "enabled": True,
                "server_listen": HOST,
                "server_proxyclient_address": HOST,
                "novncproxy_base_url": f"http://{HOST}:6080/vnc_auto.html",
            },
            "glance": {"region_name": REGION},
            "oslo_concurrency": {"lock_path": str(place.lib / "nova" / "tmp")},
            "placement": _region("placement"),
            "neutron": {
                **_region("neutron"),
                "service_metadata_proxy": True,
                "metadata_proxy_shared_secret": PASSWORD,
            },
            "cinder": {**_account("nova"), "os_region_name": REGION},
            "scheduler": {"workers": 1},
            "conductor": {"workers": 1},
            "libvirt": libvirt,
            **_privsep(place, NOVA_PRIVSEP, config),
        },
        (*_COMMON, "nova.conf", "os_brick", "os_vif"),
        tuple(NOVA_PRIVSEP.values()),
    )


def _neutron(place: Place) -> Iterator[File]:
    ovn, config = place.layout == "ovn", place.config("neutron")
    rootwrap = f"{place.program('neutron-rootwrap')} {place.config('neutron', 'rootwrap.conf')}"
    yield File(
        config,
        {
            "DEFAULT": {
                **_bus(),
                "core_plugin": "ml2",
                "service_plugins": "ovn-router" if ovn else "router",
                "state_path": str(place.lib / "neutron"),
                # With OVN nobody asks over the bus: a process that need not be.
                "rpc_workers": 0 if ovn else 1,
                "rpc_state_report_workers": 0 if ovn else 1,
                "notify_nova_on_port_status_changes": True,
                "notify_nova_on_port_data_changes": True,
            },
            "database": _database("neutron"),
            "keystone_authtoken": _authtoken("neutron"),
            "nova": _region("nova"),
            "placement": _region("placement"),
            "agent": {"root_helper": rootwrap},
            "oslo_concurrency": {"lock_path": str(place.lib / "neutron" / "tmp")},
            **_privsep(place, NEUTRON_PRIVSEP, config),
        },
        (*_AGENT, "nova.auth", "oslo.policy", "placement.auth"),
        tuple(NEUTRON_PRIVSEP.values()),
    )
    yield File(
        place.config("neutron", "ml2_conf.ini"),
        _ml2_ovn() if ovn else _ml2_openvswitch(place),
        ("neutron.ml2", "neutron.ml2.ovn", "neutron.ml2.ovs.agent"),
    )
    metadata: dict[str, Value] = {
        "nova_metadata_host": HOST,
        "metadata_proxy_shared_secret": PASSWORD,
        "metadata_workers": 1,
    }
    if ovn:
        yield File(
            place.config("neutron", "neutron_ovn_metadata_agent.ini"),
            {
                "DEFAULT": metadata,
                "ovs": {"ovsdb_connection": f"tcp:{HOST}:6640"},
                "ovn": {"ovn_sb_connection": f"tcp:{HOST}:6642"},
            },
            ("neutron.ml2.ovn", "neutron.ovn.metadata.agent"),
        )
        return
    yield File(
        place.config("neutron", "openvswitch_agent.ini"),
        {
            "ovs": {
                "bridge_mappings": "extnet:br-ex",
                "local_ip": HOST,
                "datapath_type": place.datapath,
            },
            "agent": {"tunnel_types": "vxlan", "l2_population": True},
            "securitygroup": _firewall(place),
        },
        ("neutron.ml2.ovs.agent",),
    )
    switch: Ini = {"ovs": {"datapath_type": place.datapath}}
    yield File(
        place.config("neutron", "l3_agent.ini"),
        {"DEFAULT": {"interface_driver": "openvswitch"}, **switch},
        ("neutron.agent", "neutron.l3.agent", "neutron.ml2.ovs.agent"),
    )
    yield File(
        place.config("neutron", "dhcp_agent.ini"),
        {
            "DEFAULT": {
                "interface_driver": "openvswitch",
                "dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq",
                "enable_isolated_metadata": True,
            },
            **switch,
        },
        ("neutron.agent", "neutron.dhcp.agent", "neutron.ml2.ovs.agent"),
    )
    yield File(
        place.config("neutron", "metadata_agent.ini"),
        {"DEFAULT": metadata},
        ("neutron.metadata.agent",),
    )


def _ml2_ovn() -> Ini:
    return {
        "ml2": {
            "mechanism_drivers": "ovn",
            "type_drivers": "local,flat,vlan,geneve",
            "project_network_types": "geneve",
            "extension_drivers": "port_security",
            "overlay_ip_version": 4,
        },
        "ml2_type_geneve": {"vni_ranges": "1:65536", "max_header_size": 38},
        "securitygroup": {"enable_security_group": True},
        "ovn": {
            "ovn_nb_connection": f"tcp:{HOST}:6641",
            "ovn_sb_connection": f"tcp:{HOST}:6642",
            "ovn_l3_scheduler": "leastloaded",
            "ovn_metadata_enabled": True,
        },
    }


def _ml2_openvswitch(place: Place) -> Ini:
    return {
        "ml2": {
            "type_drivers": "flat,vlan,vxlan",
            "project_network_types": "vxlan",
            "mechanism_drivers": "openvswitch,l2population",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": "extnet"},
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "securitygroup": _firewall(place),
    }


def _firewall(place: Place) -> dict[str, Value]:
    """The guide offers both. A userspace datapath of Debian 12's has no conntrack to trust."""
    driver = "openvswitch" if place.datapath == "system" else "iptables_hybrid"
    return {"enable_security_group": True, "firewall_driver": driver}


def _cinder(place: Place) -> File:
    config, data = place.config("cinder"), place.lib / "cinder"
    return File(
        config,
        {
            "DEFAULT": {
                **_bus(),
                "my_ip": HOST,
                "state_path": str(data),
                "enabled_backends": "nfs",
                "glance_api_servers": [f"http://{HOST}:{PORTS['glance']}"],
                "resource_query_filters_file": str(
                    place.upstream / "cinder" / "resource_filters.json"
                ),
            },
            "nfs": {
                "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
                "volume_backend_name": "nfs",
                "nfs_shares_config": str(place.config("cinder", "nfs_shares")),
                "nfs_mount_point_base": str(data / "mnt"),
            },
            "database": _database("cinder"),
            "keystone_authtoken": _authtoken("cinder"),
            "service_user": _service_user("cinder"),
            "nova": _region("nova"),
            "oslo_concurrency": {"lock_path": str(data / "tmp")},
            **_privsep(place, CINDER_PRIVSEP, config),
        },
        (*_COMMON, "cinder", "os_brick"),
        tuple(CINDER_PRIVSEP.values()),
    )
