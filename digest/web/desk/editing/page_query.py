"""The query of an edition's page. Every link and form on the page preserves it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from werkzeug.datastructures import MultiDict

from digest.web.desk.edition.previews import find_preview_mode
from digest.web.desk.outline.story_pool import POOL_FILTERS, POOL_ORDERS, PoolQuery

PAGE_TABS = ("stories", "edition", "preview")
# "why", "tray", "clipboard", and "articles" show all of their content instead of asking a question.
CHOICE_PANELS = ("under", "merge")  # these search for another story
PANELS = ("more", "why", "move", *CHOICE_PANELS, "tray", "clipboard", "articles")
MAX_WORDS_LENGTH, MAX_OMITTED = 100, 40
_SECTION_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_ANCHOR = re.compile(r"head|own|s[0-9a-f]{12}|at-s[0-9a-f]{12}(-[0-9]{1,3})?|block-[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class EditionPageQuery:
    """The view, filters, and open forms of an edition's page, as stored in its URL.

    `open` is the anchor of the open form, and `panel` is the open panel about the story `about`. A
    link in the preview opens a story by its place there (`list_preview_anchors`).

    `show` is the anchor of the story that's shown in the preview if no form is open.

    `rows` is the number of listed stories after scrolling. It isn't preserved by links.

    `omit` contains the keys of the sections hidden in the email, separated by commas.
    """

    tab: str = "edition"
    view: str = "phone"
    filter: str = ""
    order: str = "score"
    topic_filter: str = ""
    q: str = ""
    start: str = ""
    open: str = ""
    panel: str = ""
    about: str = ""
    omit: str = ""
    show: str = ""
    rows: str = ""

    def but(self, **changed: str) -> dict[str, str]:
        """Return the values for a URL's query with some values changed and defaults left out."""
        query = {key: getattr(self, key) for key in _CARRIED} | changed
        return {key: value for key, value in query.items() if value != _DEFAULTS[key]}

    @property
    def omitted(self) -> tuple[str, ...]:
        """The keys of the sections hidden in the email."""
        return tuple(filter(None, self.omit.split(",")))

    @property
    def shown_filter(self) -> str:
        """The current tab of the story list.

        A search covers all tabs until one is chosen.
        """
        return self.filter or ("all" if self.q else "unused")

    @property
    def pool(self) -> PoolQuery:
        """The query that selects from the list of stories."""
        start, rows = int(self.start or 0), int(self.rows or 0)
        return PoolQuery(self.shown_filter, self.order, self.topic_filter, self.q, start, rows)


_DEFAULTS: dict[str, str] = asdict(EditionPageQuery())
_CARRIED = tuple(key for key in _DEFAULTS if key != "rows")


def read_page_query(values: Mapping[str, str]) -> EditionPageQuery:
    """Parse a query from a URL or a form.

    Unknown values are replaced by defaults. If the words of the search have changed (`was-q`), it
    covers all tabs.
    """
    filters = [key for key, _ in POOL_FILTERS]
    words = read_words(values, "q")
    is_new = "was-q" in values and read_words(values, "was-q") != words
    return EditionPageQuery(
        tab=_known_or_default(values.get("tab"), PAGE_TABS, "edition"),
        view=find_preview_mode(values.get("view")).key,
        filter="" if is_new else _known_or_default(values.get("filter"), filters, ""),
        order=_known_or_default(values.get("order"), [key for key, _ in POOL_ORDERS], "score"),
        topic_filter=read_words(values, "topic_filter"),
        q=words,
        start=_known_number(values.get("start", "")),
        open=_known_anchor(values.get("open", "")),
        panel=_known_or_default(values.get("panel"), PANELS, ""),
        about=_known_anchor(values.get("about", "")),
        omit=_read_omitted(values),
        show=_known_anchor(values.get("show", "")),
        rows=_known_number(values.get("rows", "")),
    )


def read_words(values: Mapping[str, str], name: str) -> str:
    """Return the words in a search field, separated by single spaces."""
    return " ".join(values.get(name, "").split())[:MAX_WORDS_LENGTH]


def _known_or_default(value: str | None, allowed: Collection[str], default: str) -> str:
    return value if value is not None and value in allowed else default


def read_number(text: str, max_digits: int = 9) -> int | None:
    """Parse a whole number, or return None if the text isn't one or is too long."""
    is_number = text.isascii() and text.isdigit() and len(text) <= max_digits
    return int(text) if is_number else None


def _known_number(value: str) -> str:
    return value if read_number(value, 5) is not None else ""


def _read_omitted(values: Mapping[str, str]) -> str:
    """Return the hidden sections, from checkboxes or from a comma-separated list in a link."""
    omitted_values = [values.get("omit", "")]
    if isinstance(values, MultiDict):
        omitted_values = values.getlist("omit")
    keys = [key for each in omitted_values for key in each.split(",") if _SECTION_KEY.fullmatch(key)]
    return ",".join(dict.fromkeys(keys[:MAX_OMITTED]))


def _known_anchor(value: str) -> str:
    return value if _ANCHOR.fullmatch(value) else ""
