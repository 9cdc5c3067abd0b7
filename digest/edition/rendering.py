"""One edition as pieces of finished mail: HTML, text, and what differs in the web copy.

The whole HTML page is rendered and inlined once, with what only the mail says and what only the web copy says
both in it; the two are then told apart, and cut into pieces, at comments that the templates write.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

from digest.edition import marks
from digest.edition.content import Content, Piece
from digest.edition.disarm import RenderingError, disarmed, plain
from digest.edition.inlining import inline
from digest.edition.wording import FILTERS, one_line
from digest.settings import Settings
from digest.templating import environment

__all__ = ["Frame", "RenderingError", "environment_of", "frame_of", "page", "render", "subject"]

Kind = Literal["html", "text", "web"]
_HTML_CUT = re.compile(r"<!--cut ([a-z0-9:-]+)-->")
_TEXT_CUT = re.compile(r"\x1e([a-z0-9:-]+)\x1e")  # the record separator: no text of an edition holds it
_ENDS = frozenset({"head", "foot"})


@dataclass(frozen=True, slots=True)
class Frame:
    """What every edition of a publication says: its name, its places, its duties."""

    name: str
    tagline: str
    site: str
    about: str
    language: str
    direction: Literal["ltr", "rtl"]
    base: str  # without a slash at its end
    postal_address: str
    reply_to: str

    @property
    def start(self) -> str:
        """The side on which a line begins."""
        return "right" if self.direction == "rtl" else "left"

    @property
    def end(self) -> str:
        """The side on which a line ends."""
        return "left" if self.direction == "rtl" else "right"

    @property
    def postal_line(self) -> str:
        """The postal address on one line, with the publication's name in it."""
        line = one_line(self.postal_address)
        return line if not line or self.name in line else f"{self.name}, {line}"

    @property
    def write_to(self) -> str:
        """The mailto address (RFC 6068) of the editors, for a mail that was forwarded and can't be replied to."""
        return f"mailto:{quote(self.reply_to, safe='@')}"


def frame_of(settings: Settings) -> Frame:
    """Take from the settings what every edition says."""
    publication, sender = settings.file.publication, settings.file.sender
    return Frame(
        name=publication.name,
        tagline=publication.tagline,
        site=publication.site,
        about=publication.about,
        language=publication.language,
        direction=publication.direction,
        base=settings.base,
        postal_address=sender.postal_address,
        reply_to=sender.reply_to,
    )


def environment_of(settings: Settings) -> Environment:
    """Make the environment that `render` wants: the operator's templates first, our filters in it."""
    pages = environment(settings.templates)
    pages.filters.update(FILTERS)
    return pages


def render(content: Content, frame: Frame, pages: Environment) -> tuple[Piece, ...]:
    """Render an edition into its pieces, in reading order: all of kind html, then web, then text.

    A piece of kind html or text is named `head`, `section:<key>`, `sponsor` or `foot`; of kind web there are
    only those that differ from the html piece of the same name. `page` joins them again.

    Args:
        content: what the edition says; it is made harmless first (`disarm`).
        frame: what every edition says.
        pages: the environment of `environment_of`.

    Raises:
        RenderingError: a link is no web address, or a template lost a mark of the cutting.
    """
    content = disarmed(content)
    both = inline(pages.get_template("mail/edition/body.html").render(_context(content, frame, "html")))
    text = pages.get_template("mail/edition/body.txt").render(_context(content, frame, "text"))
    html = list(_cut(_only("mail", both), "html"))
    mailed = {piece.name: piece.body for piece in html}
    web = [p for p in _cut(_only("web", both), "web") if p.body != mailed.get(p.name)]
    return (*html, *web, *(_spaced(piece) for piece in _cut(text, "text")))


def subject(content: Content, frame: Frame, pages: Environment) -> str:
    """Give the subject of an edition's mail, on one line."""
    template = pages.get_template("mail/edition/subject.txt")
    return plain(template.render(content=content, frame=frame))


def page(pieces: Collection[Piece], kind: Kind, omit: Collection[str] = frozenset()) -> str:
    """Join pieces into a whole page of one kind, without the pieces that `omit` names.

    Raises:
        ValueError: `omit` names the head or the foot, without which there is no page.
    """
    if _ENDS & set(omit):
        raise ValueError(f"head and foot can't be left out of a page (omit: {', '.join(sorted(omit))})")
    web = {p.name: p.body for p in pieces if p.kind == "web"} if kind == "web" else {}
    base = "html" if kind == "web" else kind
    return "".join(web.get(p.name, p.body) for p in pieces if p.kind == base and p.name not in omit)


def _context(content: Content, frame: Frame, kind: Kind) -> dict[str, Any]:
    web_copy = f"{frame.base}/editions/{quote(content.name)}"
    preferences = f"{frame.base}/preferences/{marks.PREFERENCES}"
    return {
        "content": content,
        "frame": frame,
        "sponsor_after": _sponsor_after(content),
        "web_copy": web_copy,
        "leave": f"{frame.base}/u/{marks.LEAVE}",
        "preferences": preferences,
        "my_data": f"{preferences}#my-data",
        "asked": marks.ASKED,
        "share": {
            "mail": f"mailto:?subject={quote(f'{frame.name} No. {content.number}')}&body={quote(web_copy, safe='')}",
            "linkedin": f"https://www.linkedin.com/sharing/share-offsite/?url={quote(web_copy, safe='')}",
        },
        # The three marks of the cutting; Markup, because they are comments and not text.
        "cut": (lambda name: Markup(f"<!--cut {name}-->"))  # noqa: S704 - section keys are checked settings
        if kind == "html"
        else (lambda name: f"\x1e{name}\x1e"),
        "only": lambda what: Markup(f"<!--{what}-->"),  # noqa: S704 - written by the template
        "end": lambda what: Markup(f"<!--/{what}-->"),  # noqa: S704 - written by the template
    }


def _sponsor_after(content: Content) -> str | None:
    """Name the section that the paid block stands after: Featured, else the first."""
    if not content.sponsor or not content.sections:
        return None
    featured = [s.key for s in content.sections if s.kind == "featured"]
    return (featured or [content.sections[0].key])[0]


def _only(what: Literal["mail", "web"], html: str) -> str:
    """Keep what is said to everybody and to `what`."""
    other = "web" if what == "mail" else "mail"
    html = re.sub(rf"<!--{other}-->.*?<!--/{other}-->", "", html, flags=re.DOTALL)
    return html.replace(f"<!--{what}-->", "").replace(f"<!--/{what}-->", "")


def _cut(whole: str, kind: Kind) -> Iterator[Piece]:
    parts = (_TEXT_CUT if kind == "text" else _HTML_CUT).split(whole)
    names = ["head", *parts[1::2]]
    if names[-1] != "foot" or len(set(names)) != len(names):
        raise RenderingError(
            f"mail/edition/body.{'txt' if kind == 'text' else 'html'} was cut into {', '.join(names)}: "
            "write a cut() before each section and the last one before the foot, each once"
        )
    for name, body in zip(names, parts[0::2], strict=True):
        yield Piece(kind=kind, name=name, body=body)


def _spaced(piece: Piece) -> Piece:
    """Give a piece of text that stands two blank lines below the one before, wherever it comes to stand."""
    lines = "\n".join(line.rstrip() for line in piece.body.strip().splitlines())
    body = re.sub(r"\n{4,}", "\n\n\n", lines) + "\n"
    return Piece(kind="text", name=piece.name, body=body if piece.name == "head" else f"\n\n{body}")
