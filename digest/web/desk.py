"""The editors' pages: the edition, its stories and checks, approval, sources, what was sent.

Accounts come later. Until then the desk is for whoever sits at this machine, and for nobody else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest import weekly
from digest.attention import needed
from digest.db import Edition, EditionState, Source, Story
from digest.deliver import pulse, steering
from digest.deliver.personalising import LetterError
from digest.deliver.planning import books, purpose_of
from digest.deliver.steering import SteeringError
from digest.edition import approval
from digest.edition.approval import ApprovalError
from digest.edition.editions import current, missed
from digest.edition.preflight import Finding, Level, check
from digest.web.ground import Ground, ground
from digest.web.outline import Checks, Outline, Tale, checks, outline, tale
from digest.web.previews import VIEWS, body_of, octets_of, preview, view_of
from digest.web.safety import DESK, keep_private, outside_because
from digest.web.standing import sent_row, source_rows
from subscribers import roll

desk = Blueprint("desk", __name__, url_prefix="/desk")

ACTOR = "desk on this machine"  # stands in the audit log until there are accounts
SHOWN = 100  # stories in the list
FILTERS = (("all", "All"), ("used", "Used"), ("left-out", "Left out"))
TABS = ("stories", "edition", "preview")


@desk.before_request
def only_from_here() -> ResponseReturnValue | None:
    """Refuse whoever does not sit at this machine, and say why."""
    why = outside_because(request)
    return (render_template("web/desk/refused.html", why=why), 403) if why else None


@desk.after_request
def private(response: Response) -> Response:
    """Keep the desk out of caches and searches, and let it frame its own previews."""
    response.headers.setdefault("Content-Security-Policy", DESK)
    return keep_private(response)


@desk.context_processor
def attention() -> dict[str, Callable[[], list[str]]]:
    """Lend the layout the sentences that stand above every page of the desk."""

    def sentences() -> list[str]:
        with ground().database.read() as session:
            return needed(session, ground().clock())

    return {"attention": sentences}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks to see; every link on the page keeps the rest of it."""

    tab: str
    view: str
    filter: str
    q: str

    def but(self, **changed: str) -> dict[str, str]:
        """Give the address's query with some of it changed, and without what is the default."""
        plain = {"tab": "edition", "view": "phone", "filter": "all", "q": ""}
        now = {"tab": self.tab, "view": self.view, "filter": self.filter, "q": self.q} | changed
        return {key: value for key, value in now.items() if value != plain[key]}


def asked() -> Asked:
    """Read the query; anything unknown is the default."""
    args = request.args
    return Asked(
        tab=_one_of(args.get("tab"), TABS, "edition"),
        view=view_of(args.get("view")).key,
        filter=_one_of(args.get("filter"), [key for key, _ in FILTERS], "all"),
        q=" ".join(args.get("q", "").split())[:100],
    )


def _one_of(value: str | None, known: object, otherwise: str) -> str:
    return value if value and isinstance(known, (list, tuple)) and value in known else otherwise


@desk.get("/")
def index() -> ResponseReturnValue:
    """Show the edition that goes out next, else the last one, else what to do first."""
    with ground().database.read() as session:
        found = current(session)
        if found is None:
            sources = session.scalar(select(func.count()).select_from(Source).where(Source.active)) or 0
            return render_template("web/desk/empty.html", sources=sources)
        return _edition_page(session, found)


@desk.get("/editions/<name>")
def edition(name: str) -> ResponseReturnValue:
    """Show one edition by its name."""
    with ground().database.read() as session:
        return _edition_page(session, named(session, name))


def named(session: Session, name: str) -> Edition:
    """Find an edition by its name, or answer 404."""
    found = session.scalar(select(Edition).where(Edition.name == name))
    if found is None:
        abort(404, f"No edition is called {name}.")
    return found


def _edition_page(session: Session, found: Edition) -> str:
    here, look = ground(), asked()
    shown, found_checks = _examined(here, session, found)
    tales, count = _tales(session, found, look, shown)
    return render_template(
        "web/desk/edition.html",
        edition=found,
        outline=shown,
        checks=found_checks,
        readers=roll.count(session),
        tales=tales,
        tales_count=count,
        asked=look,
        filters=FILTERS,
        views=VIEWS,
        view=view_of(look.view),
        octets=octets_of(session, found),
        sent=sent_row(session, found),
        missed=missed(found, here.clock()),
        over=found.release_at <= here.clock(),
        sending=_sending(here, session, found),
    )


def _sending(here: Ground, session: Session, found: Edition) -> str:
    """Say how the sending of an edition gets on; empty where nothing of it waits, or where it is paused."""
    if found.paused_at is not None:
        return ""
    waiting = books(session, purpose_of(found.name)).open
    return pulse.in_words(pulse.pulse(session, found.name), waiting, here.clock(), here.zone)


def _examined(here: Ground, session: Session, found: Edition) -> tuple[Outline, Checks]:
    placed = session.scalars(select(Story).where(Story.edition_id == found.id, Story.section.is_not(None)))
    shown = outline(found, placed, here.settings.file.sections)
    try:
        findings = check(weekly.examined(here.install, session, found))
    except LetterError as exc:  # too little is there to make a message of, so no rule could look
        findings = (Finding("message", Level.ERROR, str(exc)),)
    return shown, checks(findings, shown)


def _tales(session: Session, found: Edition, look: Asked, shown: Outline) -> tuple[list[Tale], int]:
    query = select(Story).where(Story.edition_id == found.id)
    if look.filter != "all":
        query = query.where(Story.section.is_not(None) if look.filter == "used" else Story.section.is_(None))
    if look.q:
        words = (Story.title.icontains(look.q, autoescape=True), Story.url.icontains(look.q, autoescape=True))
        query = query.where(words[0] | words[1])
    count = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.scalars(query.order_by(Story.score.desc(), Story.id).limit(SHOWN))
    titles = {b.section.key: b.section.title for b in shown.blocks}
    return [tale(story, titles) for story in rows], count


@desk.get("/preview/<name>/<view>")
def frame(name: str, view: str) -> ResponseReturnValue:
    """Give the bytes of an edition for one of the views."""
    if view not in {v.key for v in VIEWS}:
        abort(404, f"There is no view called {view}.")
    with ground().database.read() as session:
        found = named(session, name)
        if view != "inbox":
            return preview(session, found, view)
        response = Response(
            render_template("web/desk/inbox.html", edition=found, sender=ground().settings.file.sender.name)
        )
        response.headers["Content-Security-Policy"] = DESK.replace(
            "frame-ancestors 'none'", "frame-ancestors 'self'"
        )
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        return response


@desk.get("/editions/<name>/approve")
def review(name: str) -> ResponseReturnValue:
    """Show all that approval vouches for, with the mark that stands for it."""
    here = ground()
    with here.database.read() as session:
        found = named(session, name)
        _, found_checks = _examined(here, session, found)
        return render_template(
            "web/desk/approve.html",
            edition=found,
            checks=found_checks,
            readers=roll.count(session),
            mark=approval.current_mark(session, found, here.settings),
            octets=octets_of(session, found),
            over=found.release_at <= here.clock(),
            text_lines=body_of(session, found, "text").count("\n"),
        )


@desk.post("/editions/<name>/approve")
def approve(name: str) -> ResponseReturnValue:
    """Approve what was looked at; where it has changed since, say what happened and approve nothing."""
    here, mark = ground(), request.form.get("mark", "")
    with here.database.read() as session:
        found = named(session, name)
        stands = approval.current_mark(session, found, here.settings)
    try:
        weekly.approve(here.install, name, mark, actor=ACTOR, now=here.clock())
    except (ApprovalError, LetterError) as exc:
        return render_template(
            "web/desk/conflict.html", edition=found, why=str(exc), mark=mark, stands=stands
        ), 409
    return redirect(url_for("desk.edition", name=name), 303)


@desk.post("/editions/<name>/void")
def void(name: str) -> ResponseReturnValue:
    """Take an approval back, so that the edition is a draft again."""
    here = ground()
    try:
        with here.database.write() as session:
            found = named(session, name)
            approval.void(session, found, actor=ACTOR, now=here.clock())
    except ApprovalError as exc:
        return render_template("web/desk/conflict.html", edition=found, why=str(exc), mark="", stands=""), 409
    return redirect(url_for("desk.edition", name=name), 303)


@desk.post("/editions/<name>/<any(pause, resume):act>")
def steer(name: str, act: str) -> ResponseReturnValue:
    """Let the sending of an edition rest, or go on."""
    here = ground()
    by: Any = {"actor": ACTOR, "now": here.clock()}
    with here.database.write() as session:
        found = named(session, name)
        try:
            if act == "pause":
                steering.pause(session, name, "", **by)
            else:
                steering.resume(session, name, **by)
        except SteeringError as exc:  # it went out, or was cancelled, meanwhile
            return render_template(
                "web/desk/conflict.html", edition=found, why=str(exc), mark="", stands=""
            ), 409
    return redirect(url_for("desk.edition", name=name), 303)


@desk.get("/sources")
def sources() -> ResponseReturnValue:
    """Show how every source has behaved, those that need somebody first."""
    here = ground()
    with here.database.read() as session:
        rows = source_rows(session.scalars(select(Source)), here.clock(), here.zone)
    return render_template("web/desk/sources.html", rows=rows)


@desk.get("/sent")
def sent() -> ResponseReturnValue:
    """List the editions that went out, or were stopped, with their books."""
    over = (EditionState.SENDING, EditionState.SENT, EditionState.CANCELLED)
    here = ground()
    with here.database.read() as session:
        found = session.scalars(
            select(Edition).where(Edition.state.in_(over)).order_by(Edition.release_at.desc())
        )
        rows = [(sent_row(session, e), _sending(here, session, e)) for e in found]
        return render_template("web/desk/sent.html", rows=rows)
