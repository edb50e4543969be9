"""What metering and alarms have in common: when they are on, and how often they look."""

from __future__ import annotations

from onestack.answers.values import Answers
from onestack.model.key import Class, Key, Kind

CLOUDWATCH = Key(
    "CONFIG_HEAT_CLOUDWATCH_INSTALL",
    "n",
    "Turn on what takes the place of Heat's CloudWatch API: alarms that scale a stack.",
    Kind.FLAG,
    outcome=Class.MAPPED,
    note="upstream removed Heat's CloudWatch API; y turns on Ceilometer, Gnocchi and Aodh, "
    "whose alarms (OS::Aodh::…) scale a stack today. Only effective with CONFIG_HEAT_INSTALL=y",
)
INTERVAL = "CONFIG_ONESTACK_METERING_INTERVAL"


def metering(answers: Answers) -> bool:
    """Whether guests are measured: as with packstack, nothing else of it goes without."""
    return bool(answers["CONFIG_CEILOMETER_INSTALL"]) or _scaling(answers)


def alarms(answers: Answers) -> bool:
    return metering(answers) and (bool(answers["CONFIG_AODH_INSTALL"]) or _scaling(answers))


def _scaling(answers: Answers) -> bool:
    return bool(answers[CLOUDWATCH.name]) and bool(answers["CONFIG_HEAT_INSTALL"])
