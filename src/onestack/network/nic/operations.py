"""Attach a NIC that the machine needs, and give it back."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onestack.host import clouds, iptables, netns, nftables
from onestack.host.files import ensure_file
from onestack.host.ledger import Ledger
from onestack.host.locks import Tell, silent
from onestack.model.change import Change
from onestack.model.change import Undo as UndoOf
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.model.findings import Finding, raise_refusals
from onestack.network.nic import clients, dns, gateway, kernel, plan, sharing, texts
from onestack.network.nic.facts import Device, Facts, gather
from onestack.network.nic.fitness import Fit, Way, is_wireless, judge
from onestack.network.nic.guardian import guarded, put_back
from onestack.network.nic.journal import KEPT, TRYING, Journal, Record, boot, journals
from onestack.network.nic.managers import ifupdown, networkd
from onestack.network.nic.managers.known import MANAGERS, manager_of
from onestack.network.nic.managers.told import Handover, Told
from onestack.network.nic.sharing import PAIR
from onestack.network.nic.transaction import Transaction

NIC = "nic"
"""Of entries in the ledger."""
BEFORE, AFTER = 3.0, 15.0
"""Seconds that whoever is asked on the wire has to answer, before the move and after it."""
SETTLING = 1.0
"""Seconds in which a program that configures the network takes away what it does not know."""
WORK = 180.0
"""Seconds that a move may take, whatever configures the network, beside the operator's."""

LOG = "nic.log"
"""What was put back, and why."""

Confirm = Callable[[float], bool]
"""Asks the operator; the seconds that are left. False: put it back."""


class Lost(OnestackError):
    """The move was rolled back."""


@dataclass(frozen=True)
class Terms:
    """``confirm`` is nobody with ``--yes``; the operator has ``timeout`` seconds."""

    confirm: Confirm | None = None
    timeout: float = 60.0
    root: Path = Path("/")
    tell: Tell = silent
    after: float = AFTER
    keep_files: bool = False
    """Whether files that somebody has edited stay as they are; else nothing is given back."""


def fit_of(nic: str, facts: Facts | None = None) -> Fit:
    """How it is attached. Raises `PreflightRefused` with the reason where it is not."""
    found = judge(facts or gather(), nic, is_wireless(nic))
    if isinstance(found, Finding):
        raise_refusals([found])
        raise AssertionError
    return found


def attach(cloud: Cloud, nic: str, terms: Terms) -> str:
    """Give ``nic`` a bridge of the machine's own, which has its place; the name of that.

    Nothing, and ``""``, for one that the machine does not need. The caller is in the cloud's
    network namespace. Raises `OnestackError`, with all as it was.
    """
    with sharing.alone(nic):
        sharing.need_settled(cloud, nic)
        facts = gather()
        fit = fit_of(nic, facts)
        if fit.way is not Way.MOVE:
            return fit.bridge if fit.way is Way.BRIDGED else ""
        return _Attaching(cloud, nic, facts, terms).run()


def need_movable(cloud: Cloud, nic: str, terms: Terms) -> None:
    """Raises what `attach` would, before anything is changed."""
    sharing.need_settled(cloud, nic)
    facts = gather()
    if fit_of(nic, facts).way is Way.MOVE:
        _Attaching(cloud, nic, facts, terms).checked()


def lines(nic: str) -> list[str]:
    """What a move would be told the kernel."""
    device, bridge = kernel.look(nic), plan.bridge_name(nic)
    return [*plan.make_bridge(device, bridge), *plan.over(device, bridge)]


@dataclass(frozen=True)
class _Ready:
    """What was found out before anything is changed."""

    former: Record | None
    lasting: Told
    seen: Mapping[Path, str | None]
    """What stood in its files: that is what it was made of."""
    running: list[clients.Client]
    asked: tuple[str, ...]


class _Attaching:
    def __init__(self, cloud: Cloud, nic: str, facts: Facts, terms: Terms) -> None:
        self.cloud, self.nic, self.terms = cloud, nic, terms
        self.bridge = plan.bridge_name(nic)
        self.device = kernel.look(nic)
        self.journal = Journal.of(cloud, nic)
        link = facts.link(nic) or {}
        self.wanted = Handover(
            nic, self.bridge, self.device.mac, self.device.mtu, int(link.get("ifindex", 0))
        )
        # A namespace of the cloud's own is configured by nobody else.
        here = cloud.netns is None
        self.manager = manager_of(nic, self.wanted.index, terms.root) if here else MANAGERS[""]
        self.facts = facts

    def checked(self) -> _Ready:
        """Whatever cannot be moved or told is found before anything is changed."""
        former = self._former()
        self._need_room()
        plan.over(self.device, self.bridge)
        lasting = self.manager.lasting(self.wanted, self.terms.root)
        seen = texts.present(lasting.files)
        running = self._clients()
        self._need_filter()
        asked = _need_answers(gateway.asked_of(self.device), self.nic)
        return _Ready(former, lasting, seen, running, asked)

    def run(self) -> str:
        ready = self.checked()
        former, lasting, running, asked = ready.former, ready.lasting, ready.running, ready.asked
        tell = self.terms.tell
        ledger = Ledger.of(self.cloud)
        ledger.record(NIC, **_entry(self.cloud, self.nic))
        log = self.cloud.log / LOG
        with guarded(self.journal, WORK + self.terms.timeout, log, tell):
            # From here on whatever goes wrong is put back.
            before = asdict(former) if former else {}
            name = self.manager.name
            begun = Record(self.nic, self.bridge, TRYING, "attach", name, boot(), before=before)
            moving = Transaction(self.journal, begun)
            tell(f"{self.bridge} takes the place of {self.nic}")
            _kernel(moving, "attach", self.device, self.nic, self.bridge)
            _clients(moving, running, self.nic, self.bridge)
            if self.manager.runs_clients and not self.cloud.netns:
                dns.hand_over(self.nic, self.bridge)
            trial = self.manager.trial(self.wanted, self.terms.root)
            _files(moving, trial)
            _need_kept(self.device, asked, self.bridge, self.terms, trial)
            _need_confirmed(self.nic, self.terms)
            # What was tried stands where nothing did.
            seen = {path: text for path, text in ready.seen.items() if path not in trial.files}
            notes = _files(moving, lasting, seen)
            if lasting.commands:
                _need_kept(self.device, asked, self.bridge, self.terms, lasting)
            kept = [note for note in notes if not note["path"].startswith(str(self._runtime))]
            moving.keep(lambda record: _kept(record, kept, lasting))
        return self.bridge

    @property
    def _runtime(self) -> Path:
        return self.terms.root / "run"

    def _former(self) -> Record | None:
        """What was kept once; its bridge is not there any more."""
        found = self.journal.read()
        if found and found.files:
            raise OnestackError(
                f"{self.nic} has its addresses itself, though {found.bridge} is to have them",
                f"{found.manager} was told so, and somebody has changed it",
                f"onestack nic detach {self.nic}, then attach it again",
            )
        return found

    def _need_room(self) -> None:
        if self.facts.link(self.bridge):
            raise PreflightRefused(
                f"there is a network device {self.bridge} already",
                f"onestack would call the bridge that gets the place of {self.nic} so",
                f"rename it, or delete it: ip link delete {self.bridge}",
            )

    def _need_filter(self) -> None:
        """Whoever is asked on the wire answers whatever the filter does; the operator notices."""
        rules, old = dict[str, Any](nftables=[]), dict[str, str]()
        with self._seen_by_the_operator():
            rules = dict(nftables.listed())
        with self._seen_by_the_operator():
            old = iptables.saved()

        def naming(device: str) -> Counter[str]:
            return Counter([*nftables.naming(rules, device), *iptables.naming(old, device)])

        # As many rules have to name the bridge.
        if not (left := naming(self.nic) - naming(self.bridge)):
            return
        what = f"the machine's packet filter names {self.nic}: {', '.join(left)}"
        if not self.terms.confirm:
            raise PreflightRefused(
                what,
                f"what reaches the machine will come by {self.bridge}, and the filter may not let "
                "it in",
                f"have these rules name {self.bridge} too, or confirm the move at a terminal: "
                f"onestack nic attach {self.nic}",
            )
        self.terms.tell(f"{what}; these rules must name {self.bridge} too")

    @contextlib.contextmanager
    def _seen_by_the_operator(self) -> Iterator[None]:
        """What cannot be looked at: without one at a terminal it is as if it named the NIC."""
        try:
            yield
        except OnestackError as error:
            if not self.terms.confirm:
                raise PreflightRefused(
                    f"the machine's packet filter cannot be looked at: {error.what}",
                    error.why,
                    "confirm the move at a terminal, or have that work: "
                    f"onestack nic attach {self.nic}",
                ) from error
            self.terms.tell(
                f"{error.what}: {error.why}; where the packet filter names {self.nic}, it must "
                f"name {self.bridge} too"
            )

    def _clients(self) -> list[clients.Client]:
        if not self.manager.runs_clients:
            return []
        if daemon := clients.daemon(self.nic):
            raise PreflightRefused(
                f"dhcpcd (process {daemon.pid}) configures {self.nic}",
                "it follows files of its own, which onestack does not change",
                f"have another program configure {self.nic}, or make {self.bridge} in dhcpcd.conf "
                "by hand: a NIC that is in a bridge is taken as it is",
            )
        return clients.of(self.nic)


def detach(cloud: Cloud, nic: str, terms: Terms) -> str:
    """Give it back what its bridge has; how, or nothing where there was nothing to give back.

    The caller is in the cloud's network namespace. Raises `OnestackError`, with all as it was.
    """
    if Journal.of(cloud, nic).read() is None:
        return ""
    with sharing.alone(nic):
        sharing.need_settled(cloud, nic)
        return _detach(cloud, nic, terms)


def need_returnable(cloud: Cloud, nic: str, terms: Terms, ours: Collection[str] = ()) -> None:
    """Raises what `detach` would, before anything is changed; ``ours`` are ports that go before."""
    sharing.need_settled(cloud, nic)
    found, facts = Journal.of(cloud, nic).read(), gather()
    if found is None or found.state == TRYING:
        return
    _restorable(cloud, found, terms)
    if facts.link(found.bridge) and facts.link(nic):
        if kernel.taken(facts, nic, found.bridge):
            kernel.need_useless(facts, nic, found.bridge)
            return
        others = [port for port in facts.ports(found.bridge) if port not in (nic, *ours)]
        if not sharing.heir(cloud, others):
            _need_alone(found, others)
            plan.back(kernel.look(found.bridge), nic, found.bridge)


def _restorable(cloud: Cloud, found: Record, terms: Terms) -> Record:
    """Without files that somebody has edited since. Raises `OnestackError` for these."""
    nic = found.nic
    edited = texts.changed(found.files)
    if edited and (later := _upon(cloud, found)) and not terms.keep_files:
        raise OnestackError(
            f"{nic} cannot be given back before {later}",
            f"both are configured by {', '.join(edited)}, and {later} was attached later",
            f"onestack nic detach {later}, then {nic}; attach {later} again",
        )
    if edited and not terms.keep_files:
        raise OnestackError(
            f"{nic} cannot be given back: {', '.join(edited)} was changed since",
            "what stood there before would take the place of that change",
            f"onestack nic detach {nic} --keep-files leaves that as it is: set {nic} there by hand",
        )
    return replace(found, files=tuple(n for n in found.files if n["path"] not in edited))


def _need_alone(found: Record, others: Sequence[str]) -> None:
    if others:
        raise OnestackError(
            f"{found.nic} cannot be given back: {', '.join(others)} is in {found.bridge} too",
            "it would lose its wire",
            f"take it out first: ip link set {others[0]} nomaster",
        )


def _detach(cloud: Cloud, nic: str, terms: Terms) -> str:
    journal = Journal.of(cloud, nic)
    kept = journal.read()
    if kept is None:
        return ""
    said = f"{nic} is the machine's alone again."
    # One that is being removed is no heir; so nobody begins to be while it becomes one.
    with clouds.alone():
        facts = gather()
        if heir := sharing.heir(cloud, facts.ports(kept.bridge)):
            _leave_to(heir, kept)
    if heir:
        journal.remove()
        Ledger.of(cloud).forget(NIC, **_entry(cloud, nic))
        return f"{nic} stays in {kept.bridge} for the cloud {heir.name!r}, which gives it back."
    found = _restorable(cloud, kept, terms)
    if taken := kernel.taken(facts, nic, found.bridge):
        # Files are all that is ours; who was told of them would take it out there.
        kernel.drop(facts, nic, found.bridge)
        with texts.alone():
            texts.restore(found.files)
        said = f"{nic} stays in {taken}, where somebody has put it."
    elif facts.link(found.bridge) is None or facts.link(nic) is None:
        # Gone with a reboot or by hand: files are all that is left.
        with texts.alone():
            texts.restore(found.files)
        texts.carry_out(found.back, check=False)
        if facts.link(found.bridge) and not facts.ports(found.bridge):
            kernel.batch([f"link delete dev {found.bridge}"])
    else:
        _give_back(cloud, journal, found, kept, facts, terms)
    journal.remove()
    if found.manager == ifupdown.Ifupdown.name:
        ifupdown.forget(found.bridge, terms.root)
    for note in found.files:
        texts.tidy(note)
    Ledger.of(cloud).forget(NIC, **_entry(cloud, nic))
    return said


def _upon(cloud: Cloud, record: Record) -> str:
    """Another NIC of the cloud, whose move began with a file as this one has left it."""
    left = [(each["path"], each["after"]) for each in record.files]
    others = [found for j in journals(cloud) if (found := j.read()) and found.nic != record.nic]
    upon = [r.nic for r in others if any((e["path"], e["before"]) in left for e in r.files)]
    return upon[0] if upon else ""


def _leave_to(heir: Cloud, kept: Record) -> None:
    """Killed half way it is done once more: what the heir has of it already counts."""
    journal = Journal.of(heir, kept.nic)
    with journal.held():
        if journal.read() is None:
            journal.write(kept)
    Ledger.of(heir).record(NIC, **_entry(heir, kept.nic))


def _give_back(
    cloud: Cloud, journal: Journal, found: Record, kept: Record, facts: Facts, terms: Terms
) -> None:
    nic, bridge = found.nic, found.bridge
    _need_alone(found, [port for port in facts.ports(bridge) if port != nic])
    device = kernel.look(bridge)
    plan.back(device, nic, bridge)
    asked = gateway.asked_of(device)
    quiet = gateway.silent(asked, bridge, BEFORE)
    # Where nobody answers even now, nobody needs to afterwards.
    asked = tuple(each for each in asked if each not in quiet)
    told = texts.taken_back(found.files, found.back)
    with guarded(journal, WORK + terms.timeout, cloud.log / LOG, terms.tell):
        begun = Record(nic, bridge, TRYING, "detach", found.manager, boot(), before=asdict(kept))
        moving = Transaction(journal, begun)
        terms.tell(f"{nic} gets back what {bridge} has")
        if MANAGERS[found.manager].runs_clients and not cloud.netns:
            dns.hand_over(bridge, nic)
        # Whoever still wants the NIC in the bridge would put it there again.
        _files(moving, told)
        _kernel(moving, "detach", device, nic, bridge)
        _clients(moving, clients.of(bridge), bridge, nic)
        _need_kept(device, asked, nic, terms, told)
        _need_confirmed(nic, terms)
        moving.keep(lambda _: None)


def _kernel(moving: Transaction, verb: str, device: Device, nic: str, bridge: str) -> None:
    data = {"verb": verb, "device": device.plain, "nic": nic, "bridge": bridge}
    if verb == "attach":
        moving.step("kernel", data, lambda: kernel.over(device, bridge))
    else:
        moving.step("kernel", data, lambda: kernel.back(device, nic, bridge))


def _clients(moving: Transaction, known: list[clients.Client], nic: str, device: str) -> None:
    if known:
        data = {"nic": nic, "device": device, "started": [list(c.argv) for c in known]}
        moving.step("clients", data, lambda: clients.hand_over(known, nic, device))


def _files(
    moving: Transaction, told: Told, seen: Mapping[Path, str | None] | None = None
) -> list[dict[str, Any]]:
    """Raises `Lost`, and writes none, where another text than ``seen`` stands in one by now."""
    if not told.files:
        return []
    with texts.alone():
        notes = texts.note(told)
        known = {str(path): text for path, text in (seen or {}).items()}
        edited = [n["path"] for n in notes if known.get(n["path"], n["before"]) != n["before"]]
        if edited:
            raise Lost(
                f"{moving.journal.nic} was put back: {', '.join(edited)} was changed meanwhile",
                "what was to be written there had been made of what stood there before",
                "run the same command again",
            )

        def write() -> None:
            texts.write(notes)
            texts.carry_out(told.commands, check=True)

        moving.step("files", {"files": notes, "back": [list(each) for each in told.back]}, write)
    return notes


def _kept(record: Record, notes: list[dict[str, Any]], told: Told) -> Record:
    return Record(
        record.nic,
        record.bridge,
        KEPT,
        record.verb,
        record.manager,
        record.boot,
        files=tuple(notes),
        back=told.back,
    )


def _need_answers(asked: tuple[str, ...], nic: str) -> tuple[str, ...]:
    """Those that answer; what is silent even now tells nothing. Raises where none does."""
    quiet = gateway.silent(asked, nic, BEFORE)
    answering = tuple(each for each in asked if each not in quiet)
    if quiet and not answering:
        raise PreflightRefused(
            f"{' and '.join(quiet)} does not answer at {nic}",
            "it is who would tell whether the machine is still reached once the NIC has moved",
            f"look at it: ip neigh show dev {nic}; mend the wire, or take the route away (one that "
            "was written down there by hand must answer a ping)",
        )
    return answering


def _need_kept(device: Device, asked: Iterable[str], now: str, terms: Terms, told: Told) -> None:
    """Raises `Lost` unless all addresses come to be at ``now`` and who was asked answers there."""
    until = time.monotonic() + terms.after
    # Programs that configure a network only begin with what their commands ask of them.
    settled = time.monotonic() + (SETTLING if told.commands else 0.0)
    while True:
        missing = device.missing(gather().device(now))
        if not missing and time.monotonic() > settled:
            break
        if missing and time.monotonic() > until:
            raise Lost(
                f"{device.name} was put back: {now} did not get {', '.join(missing)}",
                "what configures the host's network gave it something else",
                f"look at {now} in its log",
            )
        time.sleep(0.3)
    if left := kernel.complete(device, now):
        terms.tell(f"{now} has not got: {'; '.join(left)}")
    if quiet := gateway.silent(asked, now, max(3.0, until - time.monotonic())):
        raise Lost(
            f"{device.name} was put back: {' and '.join(quiet)} did not answer at {now}",
            "the machine would not be reached any more; its network is as it was before",
            "look whether the switch at the other end takes frames from more than one address "
            "(port security), then run the same command again",
        )


def _need_confirmed(nic: str, terms: Terms) -> None:
    if terms.confirm and not terms.confirm(terms.timeout):
        raise Lost(
            f"{nic} was put back: nobody confirmed within {terms.timeout:g} s",
            "the machine's network is as it was before",
            "run the same command again and type yes, or say --yes",
        )


def recover(cloud: Cloud, tell: Tell = silent) -> list[str]:
    """Roll back what a killed run has begun; the NICs. The caller holds the cloud's lock."""
    found = []
    # with its namespace all that was in it has gone
    gone = cloud.netns is not None and not netns.exists(cloud.netns)
    for journal in journals(cloud):
        if gone:
            journal.remove()
            continue
        with netns.inside(cloud.netns):
            undone = put_back(journal, WORK, cloud.log / LOG, tell)
        if undone:
            tell(f"{journal.nic}: what was begun with it and not kept has been put back")
            found.append(journal.nic)
    return found


def at_work(cloud: Cloud, nic: str) -> bool:
    """Whether somebody moves it, and is there to keep it."""
    if cloud.netns and not netns.exists(cloud.netns):
        return False
    with netns.inside(cloud.netns):
        return sharing.busy(nic)


def recorded(cloud: Cloud, nic: str) -> Record | None:
    return Journal.of(cloud, nic).read()


def behind(cloud: Cloud, device: str) -> str:
    """The NIC whose place ``device`` has; any other device is itself."""
    records = [found for j in journals(cloud) if (found := j.read())]
    return next((found.nic for found in records if found.bridge == device), device)


def kept(cloud: Cloud) -> list[str]:
    """NICs whose place a bridge has."""
    return [j.nic for j in journals(cloud) if (r := j.read()) and r.state == KEPT]


def unfinished(cloud: Cloud) -> list[str]:
    return [j.nic for j in journals(cloud) if (r := j.read()) and r.state == TRYING]


def _entry(cloud: Cloud, nic: str) -> dict[str, Any]:
    return {"nic": nic, "netns": cloud.netns, "root": str(cloud.root), "cloud": cloud.name}


def undo_nic(data: dict[str, Any]) -> None:
    """Of the ledger: the NIC has what it had."""
    cloud = Cloud(data["cloud"], Path(data["root"]), data["netns"])
    if cloud.netns and not netns.exists(cloud.netns):
        return
    with netns.inside(cloud.netns):
        journal = Journal.of(cloud, data["nic"])
        put_back(journal, WORK, cloud.log / LOG)
        # One that another cloud has left to us came after our wire in the ledger.
        ports = gather().ports(found.bridge) if (found := journal.read()) else ()
        for entry in Ledger.of(cloud).entries():
            if entry.kind == PAIR and entry.data["outer"] in ports:
                undo_pair(entry.data)
        detach(cloud, data["nic"], Terms())


def ensure_pair_noted(cloud: Cloud, pair: plan.Pair, root: Path = Path("/")) -> Iterator[Change]:
    """An entry for the devices between the machine's bridge and the switch's.

    They are nobody's to configure. (NetworkManager leaves such devices alone by itself.)
    """
    ledger, data = Ledger.of(cloud), _pair(cloud, pair)
    if not any(entry.kind == PAIR and entry.data == data for entry in ledger.entries()):
        yield Change(f"note the wire {pair.inner}", lambda: ledger.record(PAIR, **data))
    if cloud.netns is None and networkd.running(root):
        path, text = networkd.left_alone((pair.outer, pair.inner), root)
        for change in ensure_file(path, text):
            yield Change(change.what, functools.partial(_told_networkd, change))


def _told_networkd(change: Change) -> None:
    change.do()
    texts.carry_out(networkd.RELOAD, check=False)


def drop_pair(cloud: Cloud, pair: plan.Pair) -> None:
    """No such devices any more, and no entry."""
    undo_pair(_pair(cloud, pair))
    Ledger.of(cloud).forget(PAIR, **_pair(cloud, pair))


def _pair(cloud: Cloud, pair: plan.Pair) -> dict[str, Any]:
    return {"outer": pair.outer, "netns": cloud.netns}


def undo_pair(data: dict[str, Any]) -> None:
    """Of the ledger: the two devices that joined a bridge of the machine's to the switch."""
    if data["netns"] and not netns.exists(data["netns"]):
        return
    with netns.inside(data["netns"]):
        if gather().link(data["outer"]):
            kernel.batch([f"link delete dev {data['outer']}"])
    if not data["netns"]:
        networkd.left_alone((data["outer"],), Path("/"))[0].unlink(missing_ok=True)


UNDO: Mapping[str, UndoOf] = {NIC: undo_nic, PAIR: undo_pair}
