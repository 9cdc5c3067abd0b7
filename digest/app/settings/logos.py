"""The publisher's logo: kept by an admin, named in `[branding]`."""

from dataclasses import dataclass
from datetime import datetime

from digest.collect.articles.images import make_logo_source_url, prepare_logo, store_image
from digest.collect.codec.encoded_image import LOGO_HEIGHT, ImageError
from digest.edition.logos import compute_logo_width
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings.affected_areas import AffectedArea
from digest.settings.branding import LOGO_NAME
from digest.store.audit import LOGO_KEPT
from subscribers.errors import ApplicationError

KEEP = Action(LOGO_KEPT, Role.ADMIN, AffectedArea.NONE)


class LogoRefusedError(ApplicationError):
    """A picture cannot be the logo; the message says why."""


@dataclass(frozen=True, slots=True)
class StoredLogo:
    """A logo that is kept now: its name for `[branding]`, and its size in the masthead, in CSS pixels."""

    name: str
    width: int
    height: int = LOGO_HEIGHT


def store_logo(installation: Installation, actor: Actor, name: str, body: bytes, *, now: datetime) -> StoredLogo:
    """Keep a picture as a logo, decoded in a child process and encoded anew; an older one of the same name gives way to it.

    Raises:
        LogoRefusedError: the name cannot stand in `[branding]`, or the bytes are no usable logo.
    """
    with KEEP.steps(installation, actor, name, now=now) as audit:
        if not LOGO_NAME.fullmatch(name):
            raise LogoRefusedError(
                f"{name!r} can't be used in [branding]. Use only letters, digits, dots, and hyphens."
            )
        try:
            prepared = prepare_logo(body, name, installation.settings.file.limits)
        except ImageError as exc:
            raise LogoRefusedError(
                f"{name} can't be used as a logo ({exc}). Use a PNG, WebP, GIF, AVIF, or JPEG image."
            ) from exc
        with installation.database.write() as session:
            row = store_image(session, prepared, now)
            if row.source_url != make_logo_source_url(name):
                raise LogoRefusedError(
                    f"{name} is the same image as {row.source_url.partition(':')[2]}, which is already stored. Use that "
                    "name in [branding]."
                )
            row.made_at = now
            width = compute_logo_width(row.width, row.height)
        audit.changed, audit.detail = True, {"hash": prepared.hash}
    installation.look_logo_up_again()
    return StoredLogo(name, width)
