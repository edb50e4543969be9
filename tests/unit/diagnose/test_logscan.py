"""Errors in logs: found in each program's own form, one of a kind, those of long ago left out."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from onestack.diagnose.logscan import records, scan

ZONE = datetime.timezone(datetime.timedelta(hours=9))
SINCE = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=ZONE)
OSLO = "2026-11-22 {time} 77 {level} nova.compute.manager [None req-{n:08x}-1 - - - - - -] {text}"


def oslo(text: str, time: str = "12:00:01.5", level: str = "ERROR", n: int = 1) -> str:
    return OSLO.format(text=text, time=time, level=level, n=n)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (oslo("it broke"), "it broke"),
        (
            "2026-11-22T03:00:01.123Z|00005|conntrack(pmd)|ERR|odd",
            "conntrack(pmd)|ERR|odd",
        ),
        ("2026-11-22 12:00:01 0 [ERROR] Aborting", "Aborting"),
        ("2026-11-22 12:00:01.345678+09:00 [error] <0.1.0> no", "<0.1.0> no"),
        ("[ALERT]    (12) : cannot bind", "(12) : cannot bind"),
        ("2026-11-22 03:00:01.000+0000: 12: error : virX:1 : no", "virX:1 : no"),
    ],
)
def test_each_programs_own_form(line: str, text: str) -> None:
    assert [r.text for r in records(["noise", line, "noise"])] == [text]


def test_warnings_are_none() -> None:
    assert not list(records([oslo("x", level="WARNING"), "2026-11-22T03:00:01Z|1|x|WARN|y"]))


def test_a_traceback_is_one_record() -> None:
    lines = [oslo("it broke: No valid host"), oslo("Traceback"), oslo("  File x"), oslo("KeyError")]
    (record,) = records(lines)
    assert record.text == "it broke: No valid host"
    assert record.whole.endswith("KeyError")


def test_one_of_a_kind_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "nova-compute.log").write_text(
        "\n".join(
            [
                oslo("old trouble", time="11:59:59.0"),
                oslo("server 1 is lost", n=1),
                oslo("server 22 is lost", time="12:00:03.0", n=2),
                oslo("known thing", time="12:00:04.0"),
            ]
        )
    )

    def explain(component: str, text: str) -> str | None:
        return "because" if component == "nova" and "known" in text else None

    processes = [("nova-compute", "nova"), ("without-a-log", "nova")]
    known, lost = scan(tmp_path, processes, explain, SINCE)
    assert (known.text, known.likely, known.times) == ("known thing", "because", 1)
    assert (lost.text, lost.times, lost.at) == ("server 22 is lost", 2, "2026-11-22 12:00:03")


def test_open_vswitch_writes_utc(tmp_path: Path) -> None:
    (tmp_path / "v.log").write_text(
        "2026-11-22T02:59:59.0Z|1|a|ERR|before\n2026-11-22T03:00:01.0Z|2|b|ERR|after\n"
    )
    (found,) = scan(tmp_path, [("v", "v")], lambda component, text: None, SINCE)
    assert found.text == "b|ERR|after"


def test_swifts_transactions_are_one_trouble(tmp_path: Path) -> None:
    lines = [
        oslo(f"ERROR 507 of 127.77.0.1:620{n}/c (txn: tx{n + 9:021x}-006b09004a)", f"12:00:0{n}.5")
        for n in range(3)
    ]
    (tmp_path / "swift-proxy.log").write_text("\n".join(lines) + "\n")
    (trouble,) = scan(tmp_path, [("swift-proxy", "swift")], lambda component, text: None)
    assert trouble.times == 3
