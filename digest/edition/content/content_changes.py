"""Differences between two versions of an edition. All functions are pure.

Items may be kept, dropped, moved, added, or rewritten.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from digest.edition.content.edition_content import EditionContent, EditionImage, EditionLink, LabeledBlock, SectionEntry


class ChangeKind(StrEnum):
    """A kind of change to a story or labeled block.

    Other texts of an edition can only be rewritten.

    A story dropped from its section may have become part of another story (MERGED), or be listed
    under one (UNDER).
    """

    REWRITTEN = "rewritten"
    MOVED = "moved"
    ADDED = "added"
    DROPPED = "dropped"
    MERGED = "merged"
    UNDER = "under"


DROPPED_KINDS = frozenset({ChangeKind.DROPPED, ChangeKind.MERGED, ChangeKind.UNDER})


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """A story's section, and its position there, counting from 1.

    `url` identifies the story, and is empty if it has none.
    """

    section: str  # the section's key
    section_title: str
    number: int
    headline: str
    url: str


@dataclass(frozen=True, slots=True)
class ContentChange:
    """A change to an edition.

    `field` is the rewritten text, and `was` and `now` are its old and new values. `before` and `after`
    are a story's places. If it was merged into another story, or put under one, `after` is the other
    story's place. `images` are the old and new image, and `blocks` are the old and new labeled block.
    """

    kind: ChangeKind
    field: str = ""
    was: str = ""
    now: str = ""
    before: ItemPlace | None = None
    after: ItemPlace | None = None
    images: tuple[EditionImage | None, ...] = ()
    blocks: tuple[LabeledBlock | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentComparison:
    """The differences between two versions, in page order, and the number of unchanged items."""

    changes: tuple[ContentChange, ...]
    unchanged_count: int

    def count(self, kind: ChangeKind) -> int:
        """Return the number of changes of the given kind."""
        return sum(change.kind is kind for change in self.changes)


HEAD_FIELDS = ("subject", "preheader", "intro", "editor")
ENTRY_FIELDS = ("headline", "kicker", "summary", "why", "note")
_LINK_FIELDS = ("also", "related")


def compare_contents(
    before: EditionContent, after: EditionContent, in_place: EditionContent | None = None
) -> ContentComparison:
    """Return the differences between two versions of an edition, by story and by text.

    `in_place` has the stories of `before` in their places in `after`. If it's given, a moved story is
    compared with its entry there, because sections show different texts of a story.
    """
    head_changes = list(_list_rewritten(before, after, HEAD_FIELDS))
    new = _list_items(after)
    old = _match_changed_leads(_list_items(before), new)
    if in_place:
        placed = {_position(item): item.entry for item in _list_items(in_place).values()}
        old = {key: _put_in_place(item, new.get(key), placed) for key, item in old.items()}
    story_changes, kept_stories = _compare_stories(old, new)
    block_changes = _compare_blocks(before.blocks, after.blocks)
    kept_blocks = sum(block in before.blocks for block in after.blocks)
    kept = len(HEAD_FIELDS) - len(head_changes) + kept_stories + kept_blocks
    return ContentComparison((*head_changes, *story_changes, *block_changes), kept)


@dataclass(frozen=True, slots=True)
class _Item:
    place: ItemPlace
    entry: SectionEntry = field(compare=False)


_Items = Mapping[tuple[str, int], _Item]  # keys are the URL and the index among items with the same URL


def _list_items(content: EditionContent) -> _Items:
    """Return the stories of an edition in order, keyed by URL and by index among those with the same URL."""
    items: dict[tuple[str, int], _Item] = {}
    for section in content.sections:
        for number, entry in enumerate(section.entries, 1):
            name, nth = entry.url or entry.headline, 0
            while (name, nth) in items:
                nth += 1
            place = ItemPlace(section.key, section.title, number, entry.headline, entry.url)
            items[name, nth] = _Item(place, entry)
    return items


def _match_changed_leads(old: _Items, new: _Items) -> _Items:
    """Return the old stories, using the new key for each story that has a different lead now.

    In such a story, the old or the new version lists the other's lead among the other reports.
    """
    matched, lost = dict(old), [key for key in old if key not in new]
    for key in (key for key in new if key not in old):
        if same := next((was for was in lost if _share_page(old[was].entry, new[key].entry)), None):
            lost.remove(same)
            matched[key] = matched.pop(same)
    return matched


def _put_in_place(old: _Item, new: _Item | None, entries: Mapping[tuple[str, int], SectionEntry]) -> _Item:
    """Return an old story. If it moved, it has its entry from its new place."""
    if new is None or _position(old) == _position(new):
        return old
    entry = entries.get(_position(new))
    return replace(old, entry=entry) if entry and entry.url == old.entry.url else old


def _position(item: _Item) -> tuple[str, int]:
    return item.place.section, item.place.number


def _share_page(was: SectionEntry, now: SectionEntry) -> bool:
    return was.url in {link.url for link in now.also} or now.url in {link.url for link in was.also}


def _compare_stories(old: _Items, new: _Items) -> tuple[list[ContentChange], int]:
    """Return the changes in the new order, followed by dropped stories, and the number of unchanged stories."""
    moved_keys = _find_moved(old, new)
    lost = [_describe_lost(item, new) for key, item in old.items() if key not in new]
    changes: list[ContentChange] = []
    unchanged_count = 0
    for key, item in new.items():
        joined = [change for change in lost if change.after == item.place]
        if key not in old:
            changes += [ContentChange(ChangeKind.ADDED, after=item.place), *joined]
            if item.entry.related and not joined:
                related = _join_link_texts(item.entry.related)
                changes.append(ContentChange(ChangeKind.REWRITTEN, "related", "", related, after=item.place))
            continue
        own = _compare_entries(old[key], item)
        if joined:
            own = [*joined, *(change for change in own if change.field not in {"details", *_LINK_FIELDS})]
        if key in moved_keys:
            own.insert(0, ContentChange(ChangeKind.MOVED, before=old[key].place, after=item.place))
        changes += own
        unchanged_count += not own
    changes += (change for change in lost if not change.after)
    return changes, unchanged_count


def _describe_lost(item: _Item, new: _Items) -> ContentChange:
    """Return how a story left its section.

    It was dropped, merged into another story, or put under one.
    """
    for other in new.values():
        for kind, links in ((ChangeKind.UNDER, other.entry.related), (ChangeKind.MERGED, other.entry.also)):
            if item.place.url in {link.url for link in links}:
                return ContentChange(kind, before=item.place, after=other.place)
    return ContentChange(ChangeKind.DROPPED, before=item.place)


def _list_rewritten(
    was: object,
    now: object,
    fields: Iterable[str],
    before: ItemPlace | None = None,
    after: ItemPlace | None = None,
) -> Iterator[ContentChange]:
    """Yield a change for each field that differs between two values."""
    for name in fields:
        old, new = str(getattr(was, name)), str(getattr(now, name))
        if old != new:
            yield ContentChange(ChangeKind.REWRITTEN, name, old, new, before, after)


def _find_moved(old: _Items, new: _Items) -> set[tuple[str, int]]:
    """Return the keys of moved stories.

    These are the stories in a different section, and the fewest others that explain the new order.
    Stories that only moved up or down because of others don't count.
    """
    moved_keys = set[tuple[str, int]]()
    stayed_by_section: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for key in (key for key in new if key in old):
        section = new[key].place.section
        if section == old[key].place.section:
            stayed_by_section[section].append(key)
        else:
            moved_keys.add(key)
    for stayed in stayed_by_section.values():
        kept_in_order = _find_longest_rise([old[key].place.number for key in stayed])
        moved_keys |= {key for index, key in enumerate(stayed) if index not in kept_in_order}
    return moved_keys


def _find_longest_rise(numbers: Sequence[int]) -> set[int]:
    """Return the indices of a longest increasing subsequence of distinct numbers, found by patience sorting."""
    tops: list[int] = []
    top_indices: list[int] = []
    previous: list[int | None] = []
    for index, number in enumerate(numbers):
        pile = bisect_left(tops, number)
        previous.append(top_indices[pile - 1] if pile else None)
        tops[pile : pile + 1], top_indices[pile : pile + 1] = [number], [index]
    rise, last = set[int](), top_indices[-1] if top_indices else None
    while last is not None:
        rise.add(last)
        last = previous[last]
    return rise


def _compare_entries(was: _Item, now: _Item) -> list[ContentChange]:
    changes = list(_list_rewritten(was.entry, now.entry, ENTRY_FIELDS, was.place, now.place))
    changes += _list_relinked(was, now)
    old, new = was.entry.picture, now.entry.picture
    if not _is_same_image(old, new):
        texts, places = (_join_image_texts(old), _join_image_texts(new)), (was.place, now.place)
        changes.append(ContentChange(ChangeKind.REWRITTEN, "picture", *texts, *places, (old, new)))
    is_changed = replace(was.entry, picture=None) != replace(now.entry, picture=None)
    if is_changed and not changes:
        changes.append(ContentChange(ChangeKind.REWRITTEN, "details", "", "", was.place, now.place))
    return changes


def _list_relinked(was: _Item, now: _Item) -> Iterator[ContentChange]:
    """Yield the changes to a story's linked page, other publishers, and related articles."""
    if was.entry.url != now.entry.url:
        old, new = (": ".join(filter(None, (item.entry.source, item.entry.url))) for item in (was, now))
        yield ContentChange(ChangeKind.REWRITTEN, "link", old, new, was.place, now.place)
    for name in _LINK_FIELDS:
        old, new = (_join_link_texts(getattr(item.entry, name)) for item in (was, now))
        if old != new:
            yield ContentChange(ChangeKind.REWRITTEN, name, old, new, was.place, now.place)


def _join_link_texts(links: Iterable[EditionLink]) -> str:
    return ", ".join(link.text for link in links)


def _join_image_texts(image: EditionImage | None) -> str:
    """Return an image's description and credit, or "" if there's no image."""
    return f"{image.alt} {image.credit}".strip() if image else ""


def _is_same_image(old: EditionImage | None, new: EditionImage | None) -> bool:
    """Return True if two crops show the same image.

    A story that becomes the lead has its image in a different size.
    """
    if old is None or new is None:
        return old is new
    if (old.alt, old.credit, old.focus) != (new.alt, new.credit, new.focus):
        return False
    is_same_cut = (old.width, old.height) == (new.width, new.height)
    return old.hash == new.hash or not is_same_cut


def _compare_blocks(before: Sequence[LabeledBlock], after: Sequence[LabeledBlock]) -> list[ContentChange]:
    removed_blocks = {block.id: block for block in before}
    changes = []
    for block in after:
        was = removed_blocks.pop(block.id, None)
        if was is None:
            changes.append(ContentChange(ChangeKind.ADDED, "block", blocks=(None, block)))
            continue
        old_texts, new_texts = (replace(each, picture=None) for each in (was, block))
        if old_texts != new_texts:
            changes.append(ContentChange(ChangeKind.REWRITTEN, "block", blocks=(old_texts, new_texts)))
        if was.picture != block.picture:
            images = was.picture, block.picture
            old_words, new_words = map(_join_image_texts, images)
            changes.append(ContentChange(ChangeKind.REWRITTEN, "block-image", old_words, new_words, images=images))
    changes += (ContentChange(ChangeKind.DROPPED, "block", blocks=(block, None)) for block in removed_blocks.values())
    return changes
