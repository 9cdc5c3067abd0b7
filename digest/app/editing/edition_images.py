"""Editors' choices of images for stories.

An editor can choose another article's image, an upload, or no image, and write a new description.
"""

from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Any

from digest.app.editing.changes import build_block_edit, clean_typed_text
from digest.app.editing.edit_application import EDIT, EditForm, EditResult, apply_edit_decided_from_state
from digest.app.editing.editing_state import EditingState, EditRefusedError, read_editing_state
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.collect.imaging.encoded_image import FocusPoint, ImageError
from digest.edition.content.edition_content import EditionImage, ImageCrops, LabeledBlock
from digest.edition.drafting.composition import compose_edition, save_edition_content
from digest.edition.drafting.drafts import replace_fragments
from digest.edition.drafting.image_preparation import (
    crop_article_image,
    crop_uploaded_image,
    prepare_images,
    recrop_image,
)
from digest.edition.editing.board_story import EditedImage
from digest.edition.editing.edit_log import load_edits, read_proposal_hash, store_proposal
from digest.edition.editing.edit_values import encode_image_crops
from digest.edition.editing.edits import EditDraft, EditKind
from digest.edition.editing.stored_proposal import pack_proposal
from digest.edition.edition_queries import UNAPPROVED_STATES, find_edition
from digest.installation.audited_actions import Action
from digest.installation.opened_installation import Installation
from digest.select.selection_types import CandidateArticle

FETCH_PICTURES = Action("pictures fetched")


def use_article_image(
    installation: Installation, form: EditForm, url: str, *, article: str, fetcher: ContentFetcher | None = None
) -> EditResult:
    """Show the image of another article of the story.

    `fetcher` replaces the network.

    Raises:
        EditRefusedError: the article has no image allowed in email, or the image couldn't be
            downloaded.
    """
    EDIT.check_role(installation, form.actor, form.edition, now=form.now)
    candidate = _find_article(read_editing_state(installation, form.edition), url, article)
    if not candidate.image:
        raise EditRefusedError("The publisher doesn't allow this article's image in email.", "Upload an image instead.")
    try:
        with open_fetcher(installation.settings, fetcher) as active_fetcher:
            cuts = crop_article_image(installation.database, active_fetcher, installation.settings, candidate, form.now)
    except (FetchError, ImageError) as exc:
        raise EditRefusedError(f"Couldn't download the image: {exc}.", "Choose another image, or upload one.") from exc
    return _show_cuts(installation, form, url, cuts)


def upload_image(
    installation: Installation,
    form: EditForm,
    url: str,
    body: bytes,
    *,
    alt: str,
    credit: str,
    focus: FocusPoint | None = None,
) -> EditResult:
    """Show an uploaded image with its description, credit, and focus point.

    A child process decodes the image and encodes it again.

    Raises:
        EditRefusedError: the image can't be used or has no description.
    """
    EDIT.check_role(installation, form.actor, form.edition, now=form.now)
    words = _clean_words(alt, credit)
    read_editing_state(installation, form.edition)
    return _show_cuts(installation, form, url, _crop_upload(installation, form, body, **words, focus=focus))


def _clean_words(alt: str, credit: str) -> dict[str, str]:
    """Return an image's description and credit, cleaned for display.

    Raises:
        EditRefusedError: the description is empty.
    """
    words = {"alt": clean_typed_text(alt), "credit": clean_typed_text(credit)}
    if not words["alt"]:
        raise EditRefusedError("The image has no description.", "Describe the image for people who can't see it.")
    return words


def _crop_upload(
    installation: Installation, form: EditForm, body: bytes, *, alt: str, credit: str, focus: FocusPoint | None
) -> ImageCrops:
    words = {"alt": alt, "credit": credit}
    try:
        return crop_uploaded_image(
            installation.database, installation.settings, body, **words, focus=focus, now=form.now
        )
    except ImageError as exc:
        raise EditRefusedError(
            f"This image can't be used: {exc}.", "Upload a JPEG, PNG, GIF, WebP, or AVIF file."
        ) from exc


def hide_image(installation: Installation, form: EditForm, url: str) -> EditResult:
    """Hide a story's image."""
    draft = EditDraft(EditKind.PICTURE, url, {"shown": False})
    return apply_edit_decided_from_state(
        installation, form, lambda state: draft if _find_shown_image(state, url) else None
    )


def reset_image(installation: Installation, form: EditForm, url: str) -> EditResult:
    """Restore the original image, description, and credit of a story."""
    draft = EditDraft(EditKind.PICTURE, url, {})
    untouched = (None, EditedImage())
    return apply_edit_decided_from_state(
        installation, form, lambda state: None if _find_edited_image(state, url) in untouched else draft
    )


def change_image_description(
    installation: Installation, form: EditForm, url: str, *, alt: str, credit: str, focus: FocusPoint | None = None
) -> EditResult:
    """Change the description, credit, and focus point of a story's image.

    A `focus` of None is the default focus point.

    Raises:
        EditRefusedError: the story shows no image, or the uncropped image is no longer stored.
    """
    EDIT.check_role(installation, form.actor, form.edition, now=form.now)
    words = {"alt": clean_typed_text(alt), "credit": clean_typed_text(credit)}
    image = _find_shown_image(form.state or read_editing_state(installation, form.edition), url)
    cuts = _recrop(installation, image, focus, form.now) if image and image.focus != focus else None

    def describe(state: EditingState) -> EditDraft | None:
        shown_image, edited = _find_shown_image(state, url), _find_edited_image(state, url)
        if shown_image is None:
            raise EditRefusedError("There's no image to describe.", "Choose an image, or clear these two fields.")
        if (shown_image.alt, shown_image.credit, shown_image.focus) == (*words.values(), focus):
            return None
        value: dict[str, Any] = dict(words)
        if shown_cuts := cuts or (edited.cuts if edited else None):
            value["cuts"] = encode_image_crops(shown_cuts)
        return EditDraft(EditKind.PICTURE, url, value)

    return apply_edit_decided_from_state(installation, form, describe)


def set_block_image(
    installation: Installation,
    form: EditForm,
    block_id: str,
    body: bytes,
    *,
    alt: str,
    credit: str,
    focus: FocusPoint | None = None,
) -> EditResult:
    """Set the image of a labeled block.

    The image is an upload or, without a `body`, the current image with a new description and focus
    point.

    Raises:
        EditRefusedError: there's no such block or image, the image can't be used, or it has no
            description.
    """
    EDIT.check_role(installation, form.actor, form.edition, now=form.now)
    words = _clean_words(alt, credit)
    image = _find_block(form.state or read_editing_state(installation, form.edition), block_id).picture
    if body:
        image = _crop_upload(installation, form, body, **words, focus=focus).lead
    elif image is None:
        raise EditRefusedError("There's no image to describe.", "Choose an image, or clear these two fields.")
    elif image.focus != focus:
        image = _recrop(installation, image, focus, form.now).lead
    return _write_block_image(installation, form, block_id, replace(image, alt=words["alt"], credit=words["credit"]))


def remove_block_image(installation: Installation, form: EditForm, block_id: str) -> EditResult:
    """Remove the image from a labeled block."""
    return _write_block_image(installation, form, block_id, None)


def _write_block_image(
    installation: Installation, form: EditForm, block_id: str, image: EditionImage | None
) -> EditResult:
    def write(state: EditingState) -> EditDraft | None:
        block = _find_block(state, block_id)
        return None if block.picture == image else build_block_edit(replace(block, picture=image))

    return apply_edit_decided_from_state(installation, form, write)


def _find_block(state: EditingState, block_id: str) -> LabeledBlock:
    block = state.arrangement.find_block(block_id)
    if block is None:
        raise EditRefusedError("The block doesn't exist.", "Save the block first.")
    return block


def _recrop(installation: Installation, image: EditionImage, focus: FocusPoint | None, now: datetime) -> ImageCrops:
    try:
        cuts = recrop_image(installation.database, image, focus, now)
    except ImageError as exc:
        raise EditRefusedError(f"The image can't be cropped: {exc}.", "Upload the image again.") from exc
    if cuts is None:
        raise EditRefusedError(
            "The focus point can't be changed because the uncropped image is no longer stored.",
            "Upload the image again.",
        )
    return cuts


def _show_cuts(installation: Installation, form: EditForm, url: str, cuts: ImageCrops) -> EditResult:
    draft = EditDraft(EditKind.PICTURE, url, {"cuts": encode_image_crops(cuts)})
    edited_image = EditedImage(cuts=cuts)
    return apply_edit_decided_from_state(
        installation, form, lambda state: None if _find_edited_image(state, url) == edited_image else draft
    )


def _find_edited_image(state: EditingState, url: str) -> EditedImage | None:
    """Return the image that an editor chose for a story, or None if no editor chose one."""
    story = state.arrangement.find_story(url)
    return story.picture if story else None


def _find_shown_image(state: EditingState, url: str) -> EditionImage | None:
    """Return the image that a story currently shows, or None if it has no image or the image is hidden."""
    story = state.arrangement.find_story(url)
    image = story.placed.scored.story.lead.image if story else None
    cuts = state.arrangement.pictures.get(image) if image else None
    return cuts.lead if cuts else None


def _find_article(state: EditingState, url: str, article: str) -> CandidateArticle:
    story = state.arrangement.find_story(url)
    members = story.original.story.members if story else ()
    matches = (each for each in members if article in {each.url, each.link})
    match = next(matches, None)
    if match is None:
        raise EditRefusedError("The article isn't in this story.", "Choose an article from the list.")
    return match


def list_leads_missing_images(state: EditingState) -> tuple[CandidateArticle, ...]:
    """Return the lead articles of placed stories with images that were neither fetched nor rejected yet."""
    arrangement = state.arrangement
    return tuple(
        story.original.story.lead
        for story in chain.from_iterable(arrangement.sections.values())
        if story.picture is None
        and (image := story.original.story.lead.image)
        and image not in arrangement.pictures
        and image not in state.proposal.refused_pictures
    )


def fetch_missing_images(installation: Installation, form: EditForm, *, fetcher: ContentFetcher | None = None) -> int:
    """Fetch the images of stories placed since the draft was made, and return how many were fetched.

    This runs after edits, so they don't wait for it. An image that can't be fetched isn't tried
    again. Approved editions don't change.
    """
    database, settings = installation.database, installation.settings
    # This comes before the action, because if there's nothing to fetch, there's nothing to record.
    with database.read() as session:
        if find_edition(session, form.edition).state not in UNAPPROVED_STATES:
            return 0
    with FETCH_PICTURES.steps(installation, form.actor, form.edition, now=form.now) as audit:
        audit.changed = False
        missing = list_leads_missing_images(read_editing_state(installation, form.edition))
        if not missing:
            return 0
        with open_fetcher(settings, fetcher) as active_fetcher:
            images, _ = prepare_images(database, active_fetcher, settings, missing, now=form.now)
        refused = {a.image for a in missing if a.image} - images.keys()
        while True:
            state = read_editing_state(installation, form.edition)
            proposal = replace(
                state.proposal,
                pictures={**images, **state.proposal.pictures},
                refused_pictures=tuple(sorted({*state.proposal.refused_pictures, *refused})),
            )
            composed = compose_edition(proposal, state.edits, state.identity, settings)
            with database.write() as session:
                edition = find_edition(session, state.name, lock=True)
                if edition.state not in UNAPPROVED_STATES:
                    return 0
                unchanged = read_proposal_hash(session, edition) == state.proposal_hash
                if not unchanged or len(load_edits(session, edition)) != len(state.edits):
                    continue
                store_proposal(session, edition, pack_proposal(proposal))
                save_edition_content(edition, composed)
                replace_fragments(session, edition, composed.fragments)
                audit.subject, audit.detail = state.name, {"pictures": len(images)}
                audit.changed = bool(images)
            return len(images)
