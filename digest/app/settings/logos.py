"""The publisher's logo and header image, stored by an admin and named in `[branding]`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from digest.collect.articles.images import (
    make_header_source_url,
    make_logo_source_url,
    prepare_header,
    prepare_logo,
    store_image,
)
from digest.collect.codec.encoded_image import HEADER_WIDTH, ImageError
from digest.edition.brand_images import compute_logo_size
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings.affected_areas import AffectedArea
from digest.settings.branding import LOGO_NAME
from digest.store.audit import LOGO_KEPT
from subscribers.errors import ApplicationError

KEEP = Action(LOGO_KEPT, Role.ADMIN, AffectedArea.NONE)
BrandImageKind = Literal["logo", "header"]
_KINDS = {"logo": (prepare_logo, make_logo_source_url), "header": (prepare_header, make_header_source_url)}
_WORDS = {"logo": "a logo", "header": "a header image"}


class LogoRefusedError(ApplicationError):
    """Raised if an image can't be the logo or the header image. The message says why."""


@dataclass(frozen=True, slots=True)
class StoredLogo:
    """A stored image: its name for `[branding]`, and its size in emails, in CSS pixels."""

    name: str
    width: int
    height: int


def store_logo(
    installation: Installation, actor: Actor, name: str, body: bytes, *, kind: BrandImageKind = "logo", now: datetime
) -> StoredLogo:
    """Store an image as a logo or header image, replacing an earlier one of the same name.

    The image is decoded and re-encoded in a child process.

    Raises:
        LogoRefusedError: the name isn't allowed in `[branding]`, or the image can't be used.
    """
    prepare, make_source_url = _KINDS[kind]
    with KEEP.steps(installation, actor, name, now=now) as audit:
        if not LOGO_NAME.fullmatch(name):
            raise LogoRefusedError(
                f"{name!r} can't be used in [branding]. Use only letters, digits, dots, and hyphens."
            )
        try:
            prepared = prepare(body, name, installation.settings.file.limits)
        except ImageError as exc:
            raise LogoRefusedError(
                f"{name} can't be used as {_WORDS[kind]} ({exc}). Use a PNG, WebP, GIF, AVIF, or JPEG image."
            ) from exc
        with installation.write() as session:
            row = store_image(session, prepared, now)
            if row.source_url != make_source_url(name):
                raise LogoRefusedError(
                    f"{name} is the same image as {row.source_url.partition(':')[2]}, which is already stored. Use that "
                    "name in [branding]."
                )
            row.made_at = now
            height = installation.settings.file.branding.logo_height
            size = compute_logo_size(row.width, row.height, height)
            if kind == "header":
                size = HEADER_WIDTH, round(HEADER_WIDTH * row.height / row.width)
        audit.changed, audit.detail = True, {"hash": prepared.hash}
    installation.look_brand_images_up_again()
    return StoredLogo(name, *size)
