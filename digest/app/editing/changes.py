"""Editors' changes to an edition at the desk, one function for each action.

They place stories, compose them, and write texts.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from digest.app.accounts.staff import find_entered_staff_name
from digest.app.editing.edit_application import EditForm, EditResult, apply_edit, apply_edit_decided_from_state
from digest.app.editing.editing_state import EditingState, EditRefusedError, list_topic_names
from digest.collect.texts.text_cleanup import normalize_text
from digest.collect.texts.urls import canonical_url, usable_url
from digest.edition.content.edition_content import LabeledBlock
from digest.edition.editing import edits as history
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import EditDraft, EditionField, EditKind, StoryField
from digest.edition.kinds import SECTION_KINDS
from digest.installation.opened_installation import Installation
from digest.select.stories import group_into_stories
from digest.select.story_links import StoryGroupingDecision
from subscribers.english_text import join_words

# The markup that's left when text is pasted from a web page or word processor. Any other "<" is
# part of the text.
_PASTED_INLINE = re.compile(r"</?(?:[abisu]|em|font|span|strong)(?:\s[^<>]*)?>", re.IGNORECASE)
_PASTED_BLOCK = re.compile(r"</?(?:p|br|div|h[1-6]|li|ol|ul)(?:\s[^<>]*)?/?>", re.IGNORECASE)

_PARAGRAPH_END = re.compile(r"\r?\n[ \t]*\r?\n|</?p(?:\s[^<>]*)?>", re.IGNORECASE)


# --- placing stories -----------------------------------------------------------------------------------------


def place_stories(
    installation: Installation,
    form: EditForm,
    url: str,
    *other_urls: str,
    section: str,
    after: str | None = None,
    position: int | None = None,
) -> EditResult:
    """Move stories to a section, one below the other.

    The first story goes below the story `after`, or to the top if `after` is an empty string.
    Without `after`, it goes to the 0-based `position`, and without both, to the end.

    Raises:
        EditRefusedError: stories can't be placed by hand in that section.
    """
    value = {"section": section, "after": after, "position": position}

    def place(_: EditingState) -> EditDraft:
        _refuse_measured(installation, section)
        return EditDraft(EditKind.PLACE, url, _without_none(value) | _name_others(other_urls))

    return apply_edit_decided_from_state(installation, form, place)


def move_story(installation: Installation, form: EditForm, url: str, *, steps: int) -> EditResult:
    """Move a story up (negative `steps`) or down (positive `steps`) within its section.

    It moves at most to the section's end.

    Raises:
        EditRefusedError: the story isn't in a section that editors sort, or can't move that way,
            such as to the place of a pinned story.
    """

    def move(state: EditingState) -> EditDraft:
        section, other_stories, position = _find_placed(state.arrangement, url)
        _refuse_measured(installation, section)
        del other_stories[position]
        new_position = min(max(position + steps, 0), len(other_stories))
        if new_position == position:
            raise EditRefusedError(
                "The story is already at the end of its section.", "Move the story to another section instead."
            )
        if _is_pinned(state.arrangement, section, new_position):
            raise EditRefusedError(f"No. {new_position + 1} is pinned.", "Choose another place, or unpin it.")
        value = {
            "section": section,
            "after": other_stories[new_position - 1] if new_position else "",
            "position": new_position,
        }
        return EditDraft(EditKind.PLACE, url, value)

    return apply_edit_decided_from_state(installation, form, move)


def _is_pinned(arrangement: Arrangement, section: str, position: int) -> bool:
    stories = arrangement.sections[section]
    return position < len(stories) and stories[position].pinned


def _refuse_measured(installation: Installation, key: str) -> None:
    """Raise `EditRefusedError` if stories in the section are sorted by readership."""
    sections = installation.settings.file.sections
    section = next((each for each in sections if each.key == key), None)
    if section and not SECTION_KINDS[section.kind].is_placed_by_hand:
        raise EditRefusedError(
            f"{section.title} is sorted by page views, so you can't add or move stories there.",
            "Remove stories that don't belong in the section, or choose another one.",
        )


def _find_placed(arrangement: Arrangement, url: str) -> tuple[str, list[str], int]:
    """Return a story's section, the URLs of all stories in that section, and the story's index among them."""
    story = arrangement.find_story(url)
    for section, stories in arrangement.sections.items():
        if story in stories:
            return section, [each.url for each in stories], stories.index(story)
    raise EditRefusedError("The story isn't in a section.", "Add the story to a section first.")


def drop_stories(installation: Installation, form: EditForm, url: str, *other_urls: str) -> EditResult:
    """Remove stories from the edition or the tray.

    Only sections sorted by page views get replacements.
    """
    return apply_edit(installation, form, EditDraft(EditKind.DROP, url, _name_others(other_urls)))


def keep_stories_for_next_edition(installation: Installation, form: EditForm, url: str, *other_urls: str) -> EditResult:
    """Remove stories from the edition, and offer them for the next one.

    Restoring a story cancels the offer.

    Raises:
        EditRefusedError: the edition is breaking news, or a story was added by hand, so the next
            edition wouldn't know its author.
    """

    def keep(state: EditingState) -> EditDraft:
        if state.proposal.is_breaking_news:
            raise EditRefusedError("Breaking news doesn't have a next edition.", "Remove the story instead.")
        added_stories = state.arrangement.list_added_stories()
        names = dict.fromkeys(map(state.arrangement.name_target, (url, *other_urls)))
        if refused := [f"“{added_stories[name]}”" for name in names if name in added_stories]:
            they_were, them = ("it was", "it") if len(refused) == 1 else ("they were", "them")
            raise EditRefusedError(
                f"{join_words(refused)} can't be kept because {they_were} added by hand.",
                "Select only the others to keep them."
                if len(refused) < len(names)
                else f"Add {them} again in the next edition.",
            )
        return EditDraft(EditKind.DROP, url, {"kept": True} | _name_others(other_urls))

    return apply_edit_decided_from_state(installation, form, keep)


def _name_others(urls: Sequence[str]) -> dict[str, Any]:
    """Return the part of an edit's value that lists additional stories.

    It's empty if there are none.
    """
    return {"others": list(urls)} if urls else {}


def restore_story(installation: Installation, form: EditForm, url: str) -> EditResult:
    """Restore a removed story to its place, and remove the story that replaced it."""
    return apply_edit(installation, form, EditDraft(EditKind.RESTORE, url, {}))


def pin_story(installation: Installation, form: EditForm, url: str, *, pinned: bool) -> EditResult:
    """Pin a story to its place, or unpin it."""
    return apply_edit(installation, form, EditDraft(EditKind.PIN, url, {"pinned": pinned}))


def add_supporting_stories(
    installation: Installation, form: EditForm, url: str, *other_urls: str, main: str
) -> EditResult:
    """Make stories supporting stories of the story `main`."""
    value = {"main": main} | _name_others(other_urls)
    return apply_edit(installation, form, EditDraft(EditKind.UNDER, url, value))


# --- composing stories ---------------------------------------------------------------------------------------


def choose_lead_article(installation: Installation, form: EditForm, url: str, *, article: str) -> EditResult:
    """Make a different article the lead of its story."""
    return apply_edit(installation, form, EditDraft(EditKind.LEAD, url, {"article": article}))


def merge_stories(installation: Installation, form: EditForm, url: str, *other_urls: str) -> EditResult:
    """Merge other stories into a story."""
    return apply_edit(installation, form, EditDraft(EditKind.MERGE, url, {"others": list(other_urls)}))


def keep_stories_apart(installation: Installation, form: EditForm, url: str, *other_urls: str) -> EditResult:
    """Mark stories as different news, so that they're no longer suggested as duplicates."""
    return apply_edit(installation, form, EditDraft(EditKind.APART, url, {"others": list(other_urls)}))


def split_story(installation: Installation, form: EditForm, url: str, *articles: str) -> EditResult:
    """Split some articles off from a story.

    Each becomes a story of its own, except that articles with similar texts share one.
    """

    def split(state: EditingState) -> EditDraft:
        groups = _group_split_articles(installation, state, url, articles)
        stories = {"stories": groups} if len(groups) > 1 else {}
        return EditDraft(EditKind.SPLIT, url, {"articles": list(articles), **stories})

    return apply_edit_decided_from_state(installation, form, split)


def _group_split_articles(
    installation: Installation, state: EditingState, url: str, articles: Sequence[str]
) -> list[list[str]]:
    """Return the URLs of split-off articles, grouped by story.

    Articles that were a whole story when the edition was drafted stay together.
    """
    story = state.arrangement.find_story(url)
    members = story.original.story.members if story else ()
    chosen = [article for article in members if {article.url, article.link} & set(articles)]
    urls = {article.url for article in chosen}
    drafted = (frozenset(article.url for article in scored.story.members) for scored in state.proposal.list_scored())
    links = [StoryGroupingDecision(members) for members in drafted if len(members) > 1 and members <= urls]
    stories = group_into_stories(chosen, installation.settings.file.select.same_story, links=links)
    return [[article.url for article in each.members] for each in stories]


def add_written_story(
    installation: Installation, form: EditForm, article: Mapping[str, Any], *, section: str = "", topic: str = ""
) -> EditResult:
    """Add a story that didn't come from a source.

    `article` has fields of `CandidateArticle`, of which `title` is required. Without a `link`, its
    `url` is the link as typed. Without a `url`, the story has no link.

    Raises:
        EditRefusedError: the link isn't a URL, the article is already in this edition's week, or
            stories can't be placed by hand in that section.
    """
    described = dict(article)
    for name, value in article.items():
        if isinstance(value, str):
            described[name] = clean_typed_text(value)
    url = str(described.pop("url", "") or "")
    if url and not described.get("link"):
        described["link"] = link = usable_url(url)
        if link is None:
            raise EditRefusedError("The link isn't a URL.", "Enter a URL that begins with https:// or http://.")
        url = canonical_url(link)
    url = url or f"{history.OWN_STORY_PREFIX}{secrets.token_hex(6)}"
    written = {"article": described, "section": section, "topic": clean_typed_text(topic)}

    def add(_: EditingState) -> EditDraft:
        _refuse_measured(installation, section)
        return EditDraft(EditKind.ADD, url, written)

    return apply_edit_decided_from_state(installation, form, add)


# --- writing -------------------------------------------------------------------------------------------------


def set_edition_text(installation: Installation, form: EditForm, field: EditionField, text: str | None) -> EditResult:
    """Set the subject, the preheader, the intro, or the intro's signature.

    None restores the original text. An intro keeps its paragraphs, and an empty text removes it. An
    intro is signed by its first author.
    """
    if field is EditionField.INTRO and text:
        return _set_intro(installation, form, clean_typed_paragraphs(text))
    return set_story_text(installation, form, history.EDITION_TARGET, field, text)


def _set_intro(installation: Installation, form: EditForm, intro: str) -> EditResult:
    signature = find_entered_staff_name(installation, form.actor)

    def decide(state: EditingState) -> EditDraft | None:
        before = state.arrangement.texts.get(EditionField.INTRO)
        if before == intro:
            return None
        signed = {"signed": signature} if signature and not before else {}
        return EditDraft(
            EditKind.TEXT, history.EDITION_TARGET, {"field": str(EditionField.INTRO), "text": intro, **signed}
        )

    return apply_edit_decided_from_state(installation, form, decide)


def set_story_text(
    installation: Installation, form: EditForm, target: str, field: StoryField | EditionField, text: str | None
) -> EditResult:
    """Set one of a story's texts, or one of the edition's if `target` is the edition.

    None restores the original text.
    """
    clean = clean_typed_paragraphs if field == EditionField.INTRO else clean_typed_text
    written = None if text is None else clean(text)
    draft = EditDraft(EditKind.TEXT, target, {"field": str(field), "text": written})
    # A field is saved when it loses focus, and usually it hasn't changed.
    return _apply_unless(installation, form, draft, lambda now: _written_text(now, target, field) == written)


def _apply_unless(
    installation: Installation, form: EditForm, draft: EditDraft, is_so: Callable[[Arrangement], bool]
) -> EditResult:
    """Apply an edit, unless the arrangement already meets the condition `is_so`."""
    return apply_edit_decided_from_state(installation, form, lambda state: None if is_so(state.arrangement) else draft)


def _written_text(arrangement: Arrangement, target: str, field: str) -> str | None:
    """Return the text that an editor wrote, None if the original is used, or "" if the story doesn't exist."""
    if target == history.EDITION_TARGET:
        return arrangement.texts.get(field)
    story = arrangement.find_story(target)
    return story.texts.get(field) if story else ""


def set_story_topic(installation: Installation, form: EditForm, url: str, topic: str) -> EditResult:
    """Set a story's topic, or restore the original topic if `topic` is empty.

    Raises:
        EditRefusedError: the settings don't list the topic.
    """
    chosen = clean_typed_text(topic)

    def decide(_state: EditingState) -> EditDraft:
        if chosen and chosen not in list_topic_names(installation.settings):
            raise EditRefusedError(
                "This topic isn't in the settings.", "Choose a topic from the list, or ask an admin to add this one."
            )
        return EditDraft(EditKind.TOPIC, url, {"topic": chosen})

    return apply_edit_decided_from_state(installation, form, decide)


def set_editor_note(installation: Installation, form: EditForm, url: str, text: str) -> EditResult:
    """Set the editor's note under a story.

    An empty text removes the note.
    """
    return apply_edit(installation, form, EditDraft(EditKind.NOTE, url, {"text": clean_typed_text(text)}))


def save_labeled_block(installation: Installation, form: EditForm, block: LabeledBlock) -> EditResult:
    """Store a labeled block, and replace any block that has the same ID."""
    block = replace(
        block,
        headline=clean_typed_text(block.headline),
        name=clean_typed_text(block.name),
        text=clean_typed_text(block.text),
        url=block.url.strip(),
    )
    # As with texts, saving a block that hasn't changed isn't an edit.
    return _apply_unless(installation, form, build_block_edit(block), lambda now: now.find_block(block.id) == block)


def build_block_edit(block: LabeledBlock) -> EditDraft:
    """Return the edit that stores a labeled block."""
    value = asdict(block)
    del value["id"]
    for name in ("first_day", "last_day"):
        value[name] = value[name].isoformat() if value[name] else None
    return EditDraft(EditKind.BLOCK, f"{history.BLOCK_PREFIX}{block.id}", value)


def remove_labeled_block(installation: Installation, form: EditForm, block_id: str) -> EditResult:
    """Remove a block from this edition."""
    return apply_edit(
        installation, form, EditDraft(EditKind.BLOCK, f"{history.BLOCK_PREFIX}{block_id}", {"removed": True})
    )


def clean_typed_text(text: str) -> str:
    """Return typed or pasted text as a single line, without pasted markup."""
    return normalize_text(_PASTED_BLOCK.sub(" ", _PASTED_INLINE.sub("", text)))


def clean_typed_paragraphs(text: str) -> str:
    """Return typed or pasted text with a blank line between paragraphs.

    Each paragraph is cleaned by `clean_typed_text`.
    """
    return "\n\n".join(filter(None, map(clean_typed_text, _PARAGRAPH_END.split(text))))


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if each is not None}
