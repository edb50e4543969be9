"""Why a volume could not be made of an image, as cinder's own API tells it."""

from __future__ import annotations

from tests.support.needs import needs_services
from tests.support.trials import tried_text

TRIAL = """
import types
import onestack.components.cinder.inside.preload
from cinder import exception
from cinder.message import message_field
from cinder.volume.flows.manager import create_volume
from onestack.components.cinder.inside import messages

task_class = create_volume.CreateVolumeFromSpecTask
raised = {}

def of_image(self, context, volume, *image, **more):
    raise raised["error"]

task_class._create_from_image = of_image
messages.tell_of_images()
kept = []

def said(error):
    raised["error"] = error
    task = object.__new__(task_class)
    task._message = types.SimpleNamespace(
        create=lambda context, action, resource_uuid, detail: kept.append((action, detail)))
    kept.clear()
    try:
        task._create_from_image(None, types.SimpleNamespace(id="v"), "where", "image", {}, None)
    except type(error) as again:
        assert again is error
    else:
        raise AssertionError("it is an error all the same")
    # as the API reads it back
    return [message_field.translate_detail(message_field.translate_detail_id(None, detail))
            for _, detail in kept]

(text,) = said(exception.ImageUnacceptable(image_id="x", reason="no"))
assert "no disk of the format" in text, text
for error in (exception.ImageCopyFailure(reason="x"), exception.ImageNotFound(image_id="x")):
    assert "could not be had" in said(error)[0]
# of these upstream tells by itself
assert said(exception.ImageTooBig(image_id="x", reason="no")) == []
assert said(ValueError("a defect")) == []
numbers = [number for number, _ in message_field.Detail.ALL]
assert len(set(numbers)) == len(numbers)
"""


@needs_services
def test_reasons_that_upstream_has_no_message_for() -> None:
    tried_text(TRIAL)
