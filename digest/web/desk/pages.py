"""The editors' pages: the edition, its stories and checks, approval, sources, what was sent.

Accounts come later. Until then the desk is for whoever sits at this machine, and for nobody else.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app import editions, sending
from digest.app.actor import Actor, Face, Role
from digest.app.attention import attention_sentences
from digest.deliver.compose.personalisation import ComposeError
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.plan.delivery_plan import count_deliveries, edition_purpose
from digest.deliver.send import progress
from digest.edition import approval
from digest.edition.approval import ApprovalError
from digest.edition.preflight import FindingLevel, PreflightFinding, run_preflight_rules
from digest.edition.queries import explain_missed_release, find_current_edition
from digest.store.models import Edition, EditionState, EditionStory, Source
from digest.web.context import WebContext, web_context
from digest.web.desk.edition_outline import (
    ChecksSummary,
    EditionOutline,
    ListedStory,
    build_edition_outline,
    build_listed_story,
    summarise_checks,
)
from digest.web.desk.previews import PREVIEW_VIEWS, edition_body, edition_html_size, find_preview_view, preview_response
from digest.web.desk.status_rows import build_sent_row, build_source_rows
from digest.web.security import DESK_POLICY, mark_response_private, remote_request_reason
from subscribers.consent import audience

desk_pages = Blueprint("desk", __name__, url_prefix="/desk")

# There are no accounts yet: whoever sits at this machine is an editor.
DESK_ACTOR = Actor("desk on this machine", Role.EDITOR, Face.DESK)
MAX_LISTED_STORIES = 100  # stories in the list
STORY_FILTERS = (("all", "All"), ("used", "Used"), ("left-out", "Left out"))
PAGE_TABS = ("stories", "edition", "preview")


@desk_pages.before_request
def refuse_remote_requests() -> ResponseReturnValue | None:
    """Refuse whoever does not sit at this machine, and say why."""
    why = remote_request_reason(request)
    return (render_template("web/desk/refused.html", why=why), 403) if why else None


@desk_pages.after_request
def keep_desk_private(response: Response) -> Response:
    """Keep the desk out of caches and searches, and let it frame its own previews."""
    response.headers.setdefault("Content-Security-Policy", DESK_POLICY)
    return mark_response_private(response)


@desk_pages.context_processor
def provide_attention_sentences() -> dict[str, Callable[[], list[str]]]:
    """Lend the layout the sentences that stand above every page of the desk."""

    def sentences() -> list[str]:
        with web_context().database.read() as session:
            return attention_sentences(session, web_context().clock())

    return {"attention": sentences}


@dataclass(frozen=True, slots=True)
class EditionPageQuery:
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


def read_page_query() -> EditionPageQuery:
    """Read the query; anything unknown is the default."""
    args = request.args
    return EditionPageQuery(
        tab=_known_or_default(args.get("tab"), PAGE_TABS, "edition"),
        view=find_preview_view(args.get("view")).key,
        filter=_known_or_default(args.get("filter"), [key for key, _ in STORY_FILTERS], "all"),
        q=" ".join(args.get("q", "").split())[:100],
    )


def _known_or_default(value: str | None, allowed: object, default: str) -> str:
    return value if value and isinstance(allowed, (list, tuple)) and value in allowed else default


@desk_pages.get("/")
def index() -> ResponseReturnValue:
    """Show the edition that goes out next, else the last one, else what to do first."""
    with web_context().database.read() as session:
        found = find_current_edition(session)
        if found is None:
            sources = session.scalar(select(func.count()).select_from(Source).where(Source.active)) or 0
            return render_template("web/desk/empty.html", sources=sources)
        return _edition_page(session, found)


@desk_pages.get("/editions/<name>")
def edition(name: str) -> ResponseReturnValue:
    """Show one edition by its name."""
    with web_context().database.read() as session:
        return _edition_page(session, edition_or_404(session, name))


def edition_or_404(session: Session, name: str) -> Edition:
    """Find an edition by its name, or answer 404."""
    found = session.scalar(select(Edition).where(Edition.name == name))
    if found is None:
        abort(404, f"No edition is called {name}.")
    return found


def _edition_page(session: Session, edition: Edition) -> str:
    here, look = web_context(), read_page_query()
    shown, found_checks = _outline_and_checks(here, session, edition)
    tales, count = _find_listed_stories(session, edition, look, shown)
    return render_template(
        "web/desk/edition.html",
        edition=edition,
        outline=shown,
        checks=found_checks,
        readers=audience.count_audience(session),
        tales=tales,
        tales_count=count,
        asked=look,
        filters=STORY_FILTERS,
        views=PREVIEW_VIEWS,
        view=find_preview_view(look.view),
        octets=edition_html_size(session, edition),
        sent=build_sent_row(session, edition),
        missed=explain_missed_release(edition, here.clock()),
        over=edition.release_at <= here.clock(),
        sending=_sending_progress(here, session, edition),
    )


def _sending_progress(context: WebContext, session: Session, edition: Edition) -> str:
    """Say how the sending of an edition gets on; empty where nothing of it waits, or where it is paused."""
    if edition.paused_at is not None:
        return ""
    waiting = count_deliveries(session, edition_purpose(edition.name)).open
    return progress.describe_progress(
        progress.read_progress(session, edition.name), waiting, context.clock(), context.zone
    )


def _outline_and_checks(
    context: WebContext, session: Session, edition: Edition
) -> tuple[EditionOutline, ChecksSummary]:
    placed = session.scalars(
        select(EditionStory).where(EditionStory.edition_id == edition.id, EditionStory.section.is_not(None))
    )
    shown = build_edition_outline(edition, placed, context.settings.file.sections)
    try:
        findings = run_preflight_rules(editions.gather_preflight_facts(context.install, session, edition))
    except ComposeError as exc:  # too little is there to make a message of, so no rule could look
        findings = (PreflightFinding("message", FindingLevel.ERROR, str(exc)),)
    return shown, summarise_checks(findings, shown)


def _find_listed_stories(
    session: Session, edition: Edition, page_query: EditionPageQuery, outline: EditionOutline
) -> tuple[list[ListedStory], int]:
    query = select(EditionStory).where(EditionStory.edition_id == edition.id)
    if page_query.filter != "all":
        query = query.where(
            EditionStory.section.is_not(None) if page_query.filter == "used" else EditionStory.section.is_(None)
        )
    if page_query.q:
        words = (
            EditionStory.title.icontains(page_query.q, autoescape=True),
            EditionStory.url.icontains(page_query.q, autoescape=True),
        )
        query = query.where(words[0] | words[1])
    count = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.scalars(query.order_by(EditionStory.score.desc(), EditionStory.id).limit(MAX_LISTED_STORIES))
    titles = {b.section.key: b.section.title for b in outline.blocks}
    return [build_listed_story(story, titles) for story in rows], count


@desk_pages.get("/preview/<name>/<view>")
def frame(name: str, view: str) -> ResponseReturnValue:
    """Give the bytes of an edition for one of the views."""
    if view not in {v.key for v in PREVIEW_VIEWS}:
        abort(404, f"There is no view called {view}.")
    with web_context().database.read() as session:
        found = edition_or_404(session, name)
        if view != "inbox":
            return preview_response(session, found, view)
        response = Response(
            render_template("web/desk/inbox.html", edition=found, sender=web_context().settings.file.sender.name)
        )
        response.headers["Content-Security-Policy"] = DESK_POLICY.replace(
            "frame-ancestors 'none'", "frame-ancestors 'self'"
        )
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        return response


@desk_pages.get("/editions/<name>/approve")
def review(name: str) -> ResponseReturnValue:
    """Show all that approval vouches for, with the mark that stands for it."""
    here = web_context()
    with here.database.read() as session:
        found = edition_or_404(session, name)
        _, found_checks = _outline_and_checks(here, session, found)
        return render_template(
            "web/desk/approve.html",
            edition=found,
            checks=found_checks,
            readers=audience.count_audience(session),
            mark=approval.current_content_hash(session, found, here.settings),
            octets=edition_html_size(session, found),
            over=found.release_at <= here.clock(),
            text_lines=edition_body(session, found, "text").count("\n"),
        )


@desk_pages.post("/editions/<name>/approve")
def submit_approval(name: str) -> ResponseReturnValue:
    """Approve what was looked at; where it has changed since, say what happened and approve nothing."""
    here, mark = web_context(), request.form.get("mark", "")
    with here.database.read() as session:
        found = edition_or_404(session, name)
        stands = approval.current_content_hash(session, found, here.settings)
    try:
        editions.approve_edition(here.install, name, mark, actor=DESK_ACTOR, now=here.clock())
    except (ApprovalError, ComposeError) as exc:
        return render_template("web/desk/conflict.html", edition=found, why=str(exc), mark=mark, stands=stands), 409
    return redirect(url_for("desk.edition", name=name), 303)


@desk_pages.post("/editions/<name>/void")
def void(name: str) -> ResponseReturnValue:
    """Take an approval back, so that the edition is a draft again."""
    here = web_context()
    with here.database.read() as session:
        found = edition_or_404(session, name)
    try:
        editions.void_approval(here.install, name, actor=DESK_ACTOR, now=here.clock())
    except ApprovalError as exc:
        return render_template("web/desk/conflict.html", edition=found, why=str(exc), mark="", stands=""), 409
    return redirect(url_for("desk.edition", name=name), 303)


@desk_pages.post("/editions/<name>/<any(pause, resume):act>")
def steer(name: str, act: str) -> ResponseReturnValue:
    """Let the sending of an edition rest, or go on."""
    here = web_context()
    with here.database.read() as session:
        found = edition_or_404(session, name)
    try:
        if act == "pause":
            sending.pause_edition(here.install, name, reason="", actor=DESK_ACTOR, now=here.clock())
        else:
            sending.resume_edition(here.install, name, actor=DESK_ACTOR, now=here.clock())
    except EditionControlError as exc:  # it went out, or was cancelled, meanwhile
        return render_template("web/desk/conflict.html", edition=found, why=str(exc), mark="", stands=""), 409
    return redirect(url_for("desk.edition", name=name), 303)


@desk_pages.get("/sources")
def sources() -> ResponseReturnValue:
    """Show how every source has behaved, those that need somebody first."""
    here = web_context()
    with here.database.read() as session:
        rows = build_source_rows(session.scalars(select(Source)), here.clock(), here.zone)
    return render_template("web/desk/sources.html", rows=rows)


@desk_pages.get("/sent")
def sent() -> ResponseReturnValue:
    """List the editions that went out, or were stopped, with their books."""
    over = (EditionState.SENDING, EditionState.SENT, EditionState.CANCELLED)
    here = web_context()
    with here.database.read() as session:
        found = session.scalars(select(Edition).where(Edition.state.in_(over)).order_by(Edition.release_at.desc()))
        rows = [(build_sent_row(session, e), _sending_progress(here, session, e)) for e in found]
        return render_template("web/desk/sent.html", rows=rows)
