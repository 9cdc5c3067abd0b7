"""The logos and the header image of `[branding]`, stored in the terminal or uploaded by an admin."""

import hashlib
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from digest.app.settings.setting_changes import change_settings
from digest.collect.articles.email_images import (
    delete_stored_image,
    find_image,
    make_header_source_url,
    make_logo_source_url,
    prepare_header,
    prepare_logo,
    store_image,
)
from digest.collect.imaging.encoded_image import HEADER_WIDTH, ImageError
from digest.edition.brand_images import compute_logo_size
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings.branding import LOGO_NAME
from digest.settings.table_values import SettingsValueError
from digest.store.audit import LOGO_KEPT
from subscribers.errors import ApplicationError

KEEP = Action(LOGO_KEPT)
BrandImageKind = Literal["logo", "header"]
_KINDS = {"logo": (prepare_logo, make_logo_source_url), "header": (prepare_header, make_header_source_url)}
_WORDS = {"logo": "a logo", "header": "a header image"}


class BrandImageRefusedError(ApplicationError):
    """Raised if an image can't be used as a logo or header image.

    The message says why.
    """


@dataclass(frozen=True, slots=True)
class StoredBrandImage:
    """A stored image: its name for `[branding]`, and its size in emails, in CSS pixels."""

    name: str
    width: int
    height: int


def store_brand_image(
    installation: Installation, actor: Actor, name: str, body: bytes, *, kind: BrandImageKind = "logo", now: datetime
) -> StoredBrandImage:
    """Store an image as a logo or header image, and replace any earlier one of the same name.

    A child process decodes the image and encodes it again.

    Raises:
        BrandImageRefusedError: the name isn't allowed in `[branding]`, or the image can't be used.
    """
    prepare, make_source_url = _KINDS[kind]
    with KEEP.steps(installation, actor, name, now=now) as audit:
        if not LOGO_NAME.fullmatch(name):
            raise BrandImageRefusedError(
                f"{name!r} can't be used in [branding]. Use only letters, digits, dots, and hyphens."
            )
        try:
            prepared = prepare(body, name, installation.settings.file.limits)
        except ImageError as exc:
            raise BrandImageRefusedError(
                f"{name} can't be used as {_WORDS[kind]} ({exc}). Use a PNG, WebP, GIF, AVIF, or JPEG image."
            ) from exc
        with installation.write() as session:
            row = store_image(session, prepared, now)
            if row.source_url != make_source_url(name):
                raise BrandImageRefusedError(
                    f"{name} is the same image as {row.source_url.partition(':')[2]}, which is already stored. Use that "
                    "name in [branding]."
                )
            row.made_at = now
            height = installation.settings.file.branding.logo_height
            size = compute_logo_size(row.width, row.height, height)
            if kind == "header":
                size = HEADER_WIDTH, round(HEADER_WIDTH * row.height / row.width)
        audit.changed, audit.detail = True, {"hash": prepared.hash}
    installation.reload_brand_images()
    return StoredBrandImage(name, *size)


def replace_brand_images(
    installation: Installation,
    actor: Actor,
    uploads: Mapping[str, tuple[str, bytes]],
    *,
    fingerprint: str,
    now: datetime,
) -> bool:
    """Store uploaded images and set their names in `[branding]`.

    Return True if the settings changed.

    Args:
        installation: an installation with a settings file.
        actor: an admin.
        uploads: the file name and bytes of each image, by setting: `logo`, `logo_dark`, or
            `header`.
        fingerprint: the fingerprint of the table as it was shown.
        now: the current time.

    Raises:
        NotPermittedError: the actor isn't an admin.
        BrandImageRefusedError: an image can't be used, one of two logos is missing, or one can't be seen.
        SettingsConflictError: someone else changed the table at the same time.
        SettingsError: there's no settings file, or it can't be written.
    """
    KEEP.check_role(installation, actor, "branding", now=now)
    branding = installation.settings.file.branding
    logos = [name for name in ("logo", "logo_dark") if name in uploads or getattr(branding, name)]
    if not uploads:
        raise BrandImageRefusedError("No image was chosen. Choose one, then upload it.")
    if len(logos) == 1:
        raise BrandImageRefusedError(
            "The logo wasn't changed because an image is missing. Choose one for light screens and one for dark "
            "screens (or the same file for both)."
        )
    names = {setting: name_uploaded_image(file_name, body) for setting, (file_name, body) in uploads.items()}
    with _delete_if_refused(installation, names):
        for setting, (_, body) in uploads.items():
            kind: BrandImageKind = "header" if setting == "header" else "logo"
            store_brand_image(installation, actor, names[setting], body, kind=kind, now=now)
        try:
            return change_settings(installation, actor, "branding", names, fingerprint=fingerprint, now=now)
        except SettingsValueError as exc:
            raise BrandImageRefusedError(" ".join(exc.problems.values())) from exc


@contextmanager
def _delete_if_refused(installation: Installation, names: Mapping[str, str]) -> Generator[None]:
    """Delete the images stored in this context if it ends with an error.

    Otherwise, unused images would stay public. Images that were stored before aren't deleted.
    """
    make_url = {"header": make_header_source_url}
    urls = [make_url.get(setting, make_logo_source_url)(name) for setting, name in names.items()]
    with installation.read() as session:
        new_urls = [url for url in urls if find_image(session, url) is None]
    try:
        yield
    except ApplicationError:
        with installation.write() as session:
            for url in new_urls:
                delete_stored_image(session, url)
        raise


def name_uploaded_image(file_name: str, body: bytes) -> str:
    """Return a unique name for an uploaded logo.

    The name contains the full hash of the file, so a different file can't have the same name, and
    the settings alone decide which image is shown.
    """
    stem = re.sub(r"[^A-Za-z0-9]+", "-", file_name.rpartition(".")[0] or file_name).strip("-")[:30] or "logo"
    return f"{stem}-{hashlib.sha256(body).hexdigest()}.png"
