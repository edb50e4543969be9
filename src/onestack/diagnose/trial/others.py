"""An object, and a stack."""

from __future__ import annotations

import hashlib
import secrets

from onestack.diagnose.trial.made import NAME, Made
from onestack.model.errors import OnestackError

BYTES = 1 << 20
LENGTH = 12
TEMPLATE = {
    "heat_template_version": "2021-04-16",
    "resources": {
        "word": {"type": "OS::Heat::RandomString", "properties": {"length": LENGTH}},
    },
    "outputs": {"word": {"value": {"get_attr": ["word", "value"]}}},
}
MADE = 120.0


def an_object(made: Made) -> str:
    """Stored, and read back."""
    container = f"/v1/AUTH_{made.project}/{NAME}"
    made.ask("object-store", container, method="PUT")
    content = secrets.token_bytes(BYTES)
    plain = {"Content-Type": "application/octet-stream"}
    made.ask("object-store", f"{container}/{NAME}", method="PUT", data=content, headers=plain)
    back = made.ask("object-store", f"{container}/{NAME}")
    if not isinstance(back, bytes) or _digest(back) != _digest(content):
        raise OnestackError(
            "what is read back is not what was stored",
            f"{len(content)} bytes were stored, {len(back)} came back",
            made.cure("object-store", ""),
        )
    return f"of {BYTES >> 20} MiB, stored and read back"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stack(made: Made) -> str:
    stacks = f"/{made.project}/stacks"
    body = {"stack_name": NAME, "template": TEMPLATE, "timeout_mins": 5}
    identity = made.ask("orchestration", stacks, body)["stack"]["id"]
    place = f"{stacks}/{NAME}/{identity}"

    def state() -> tuple[str, str]:
        found = made.ask("orchestration", place)["stack"]
        return found["stack_status"], found.get("stack_status_reason") or ""

    made.wait("orchestration", "the stack", state, "CREATE_COMPLETE", MADE)
    outputs = made.ask("orchestration", place)["stack"]["outputs"]
    said = {each["output_key"]: each.get("output_value") for each in outputs}
    if len(said.get("word") or "") != LENGTH:
        raise OnestackError(
            "the stack has not the output that its template asks for",
            f"its outputs are {said}",
            made.cure("orchestration", ""),
        )
    return "with a resource, and its output"
