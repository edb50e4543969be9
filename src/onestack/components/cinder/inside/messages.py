"""What users are told of a volume that could not be made of an image (services' environment).

Upstream keeps a message for some reasons, such as an image that is too large; of an image that is
none, or could not be copied, the volume is in ``error`` without a word. `tell_of_images` adds
these two reasons, with numbers that are not upstream's.
"""

from __future__ import annotations

import functools
from typing import Any

from cinder import exception
from cinder.message import message_field
from cinder.message.message_field import Action, Detail
from oslo_utils import excutils

UNACCEPTABLE = (
    "901",
    "The image is no disk of the format that it is said to have, or refers to another file.",
)
NOT_COPIED = ("902", "The image could not be had, or not be copied to the volume.")


def know() -> None:
    """Let messages with these reasons be read: whoever serves the API wants that too."""
    Detail.ALL = (*message_field.Detail.ALL, UNACCEPTABLE, NOT_COPIED)


def tell_of_images() -> None:
    from cinder.volume.flows.manager.create_volume import CreateVolumeFromSpecTask

    know()
    of_image = CreateVolumeFromSpecTask._create_from_image

    @functools.wraps(of_image)
    def create_from_image(self: Any, context: Any, volume: Any, *image: Any, **more: Any) -> Any:
        def say(detail: tuple[str, str]) -> None:
            self.message.create(
                context, Action.COPY_IMAGE_TO_VOLUME, resource_uuid=volume.id, detail=detail
            )

        try:
            return of_image(self, context, volume, *image, **more)
        except exception.ImageUnacceptable:
            with excutils.save_and_reraise_exception():
                say(UNACCEPTABLE)
        except (exception.ImageCopyFailure, exception.ImageDownloadFailed, exception.ImageNotFound):
            with excutils.save_and_reraise_exception():
                say(NOT_COPIED)

    CreateVolumeFromSpecTask._create_from_image = create_from_image
