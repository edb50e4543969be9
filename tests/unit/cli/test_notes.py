"""``examples/notes.answers``: what the notes' packstack wrote, their edits, and nothing else."""

from __future__ import annotations

from pathlib import Path

from onestack.answers import packstack_file
from onestack.answers.registry import registry
from onestack.model.key import Class
from tests.support import notes
from tests.support.clouds import run


def test_it_is_current() -> None:
    """``python -m tests.support.notes`` writes it anew."""
    assert notes.FILE.read_text() == notes.text()


def test_it_is_packstacks_file_but_for_the_notes_edits() -> None:
    made = packstack_file.parse(notes.of_any_machine(notes.generated()), "made").entries
    ours = packstack_file.read(notes.FILE).entries
    assert [line.name for line in made] == [line.name for line in ours]
    changed = {o.name: o.text for m, o in zip(made, ours, strict=True) if m.text != o.text}
    # Some of the notes' edits are packstack's defaults by now.
    assert changed.items() <= notes.EDITS.items()
    assert {o.name: o.text for o in ours if o.name in notes.EDITS} == notes.EDITS


def test_nothing_of_it_is_refused() -> None:
    """All is honoured; of one key it is said what took its place."""
    said = run([str(notes.PACKSTACK), "--validate-answer-file", str(notes.FILE)]).stdout
    notices = said.splitlines()
    assert notices.pop() == "the answers can be used"
    assert [line.partition(":")[0] for line in notices] == ["CONFIG_HEAT_CLOUDWATCH_INSTALL"]
    keys = registry().keys
    for name in notes.EDITS:
        assert keys[name].outcome is not Class.REFUSED


def test_it_makes_the_notes_layout() -> None:
    """Of itself: without an option, and whatever would be safer on the machine."""
    said = {line.name: line.text for line in packstack_file.read(notes.FILE).entries}
    assert said["CONFIG_NEUTRON_L2_AGENT"] == "openvswitch"
    assert said["CONFIG_NEUTRON_L3_EXT_BRIDGE"] == "br-ex"
    assert said["CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"] == "vxlan"


def test_a_service_that_is_switched_on_in_a_file_of_packstacks_has_what_it_needs(
    tmp_path: Path,
) -> None:
    """A random password must be one that its key takes."""
    text = notes.generated()
    off = "CONFIG_ONESTACK_BARBICAN_INSTALL=n"
    assert off in text
    file = tmp_path / "on.txt"
    file.write_text(text.replace(off, off[:-1] + "y"))
    run([str(notes.PACKSTACK), "--validate-answer-file", str(file)])
