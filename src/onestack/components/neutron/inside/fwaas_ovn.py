"""FWaaS's service driver with OVN (services' environment).

Upstream's, which writes access lists for a port group of each firewall group,
with two things that it leaves out: a group that is switched off
(``--disable``) lets nothing through, as with the agents; and groups that the
database has and OVN has not are made again when the API starts, because
`fwaas.lifted` removed them when the service was switched off.
"""

from __future__ import annotations

from typing import Any

from neutron.api import wsgi
from neutron.common.ovn import utils as ovn_utils
from neutron_fwaas.objects import firewall_v2
from neutron_fwaas.services.firewall.service_drivers.ovn import acl, firewall_l3_driver
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.callbacks import events, priority_group, registry, resources
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
LATER = priority_group.PRIORITY_DEFAULT + 100
"""After the mechanism driver's own, which connects to OVN."""


class Driver(firewall_l3_driver.OVNFwaasDriver):  # type: ignore[misc]
    def __init__(self, service_plugin: Any) -> None:
        super().__init__(service_plugin)
        registry.subscribe(self._api_starts, resources.PROCESS, events.AFTER_INIT, LATER)

    # -- groups that are switched off ---------------------------------------

    def create_firewall_group_postcommit(
        self, context: Any, firewall_group: dict[str, Any]
    ) -> None:
        super().create_firewall_group_postcommit(context, firewall_group)
        self._say_if_down(context, firewall_group)

    def update_firewall_group_precommit(
        self, context: Any, old_firewall_group: dict[str, Any], new_firewall_group: dict[str, Any]
    ) -> None:
        super().update_firewall_group_precommit(context, old_firewall_group, new_firewall_group)
        if _switched(old_firewall_group, new_firewall_group):
            new_firewall_group["status"] = constants.PENDING_UPDATE

    def update_firewall_group_postcommit(
        self, context: Any, old_firewall_group: dict[str, Any], new_firewall_group: dict[str, Any]
    ) -> None:
        super().update_firewall_group_postcommit(context, old_firewall_group, new_firewall_group)
        if _switched(old_firewall_group, new_firewall_group):
            group = new_firewall_group["id"]
            with self._nb_ovn.transaction(check_error=True) as transaction:
                self._clear_rules_for_firewall_group(context, transaction, group)
                self._add_rules_for_firewall_group(context, transaction, group)
        self._say_if_down(context, new_firewall_group)

    def _add_rules_for_firewall_group(
        self, context: Any, txn: Any, fwg_id: str, rule_id: str | None = None
    ) -> None:
        """Without any, upstream's last ones remain, which drop all."""
        if self.firewall_db.get_firewall_group(context, fwg_id).admin_state_up:
            super()._add_rules_for_firewall_group(context, txn, fwg_id, rule_id)

    def _say_if_down(self, context: Any, group: dict[str, Any]) -> None:
        if group["status"] == constants.ACTIVE and not group["admin_state_up"]:
            group["status"] = constants.DOWN
            self.firewall_db.update_firewall_group_status(context, group["id"], constants.DOWN)

    # -- groups that OVN does not have --------------------------------------

    def _api_starts(self, resource: str, event: str, trigger: Any, payload: Any = None) -> None:
        if ovn_utils.get_class(trigger) is wsgi.WorkerService:
            context = neutron_context.get_admin_context()
            for group in firewall_v2.FirewallGroup.get_objects(context):
                self._restore(context, group.to_dict())

    def _restore(self, context: Any, group: dict[str, Any]) -> None:
        """The group in OVN, if it has ports and is not there."""
        name = ovn_utils.ovn_port_group_name(group["id"])
        if not group["ports"] or self._nb_ovn.get_port_group(name):
            return
        LOG.info("The firewall group %s is made again in OVN", group["id"])
        with self._nb_ovn.transaction(check_error=True) as transaction:
            self._init_firewall_group(transaction, group["id"])
            self._add_rules_for_firewall_group(context, transaction, group["id"])
            acl.update_ports_for_pg(self._nb_ovn, transaction, name, group["ports"])


def _switched(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return bool(old["admin_state_up"] != new["admin_state_up"])
