"""Pages for editors: the edition, its stories and checks, approval, sources, and sent editions."""

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from digest.app.accounts.attempt_limits import TooManyAttemptsError
from digest.app.accounts.sign_in import email_own_verification_link
from digest.app.approval import approval_overviews, edition_approval
from digest.app.doctor.attention import PageNotes, build_page_notes
from digest.app.editing import edit_application, editing_state
from digest.app.editions import drafting as editions
from digest.app.editions import edition_checks, edition_views
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import send_control as sending
from digest.app.sources import source_overview
from digest.deliver.compose.variants import ComposeError
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.providers.kind import ProviderSettingsError
from digest.deliver.send.run.edition_sending import SendError
from digest.deliver.send.staff_test import StaffTestReport
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.content.edition_content import EditionContent
from digest.edition.edition_queries import COMING_STATES, UnknownEditionError
from digest.edition.preflight.rule_registry import PreflightFinding
from digest.installation.audited_actions import Role
from digest.store.models import Edition, EditionState
from digest.store.staff import StaffError
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, current_staff, find_current_staff, get_actor_and_time, is_admin
from digest.web.desk.approval.approval_pages import read_approval_status
from digest.web.desk.editing.edit_answers import word_findings_for_viewer
from digest.web.desk.editing.editing_pages import (
    read_edition_name_from_url,
    render_edit_page,
    render_story_choices,
    render_story_results,
    render_story_score,
)
from digest.web.desk.editing.page_query import EditionPageQuery, read_page_query
from digest.web.desk.edition.previews import PREVIEW_MODES, build_preview_response, find_preview_mode
from digest.web.desk.outline.edition_outline import build_edition_page_data, summarize_checks
from digest.web.desk.outline.story_pool import MAX_POOL_STORIES
from digest.web.security import STRICT_POLICY
from digest.web.status_rows import SentEditionRow, build_source_rows, describe_editor_changes
from subscribers.errors import ApplicationError

desk_pages = Blueprint("desk", __name__, url_prefix="/desk")

# The filters that don't show all stories.
_PLACED = {"used": True, "left-out": False}
STORY_FILTERS = (("unused", "All"), ("used", "Used"), ("left-out", "Unused"))


@desk_pages.app_errorhandler(UnknownEditionError)
def answer_unknown_edition(error: UnknownEditionError) -> ResponseReturnValue:
    """Return a 404 response with the error's message if the edition of a page doesn't exist."""
    return current_app.handle_http_exception(NotFound(str(error)))


@desk_pages.errorhandler(ApprovalError)
@desk_pages.errorhandler(ComposeError)
@desk_pages.errorhandler(EditionControlError)
def answer_outdated_form(error: ApplicationError) -> ResponseReturnValue:
    """Show the edition's current state if a form is outdated.

    The edition may have been changed, sent, or canceled in the meantime.
    """
    app_state, name, mark = get_app_state(), read_edition_name_from_url(), request.form.get("mark", "")
    row = edition_views.read_edition(app_state.installation, name)
    current_hash = read_edition_status(app_state.installation, name, now=app_state.clock()).content_hash if mark else ""
    page = render_template(
        "web/desk/editing/conflict.html", edition=row, why=str(error), mark=mark, stands=current_hash
    )
    return page, 409


@desk_pages.app_context_processor
def provide_attention_messages() -> dict[str, Callable[[str, str], PageNotes]]:
    """Provide a function that returns the messages shown at the top of every page of the desk."""

    def read_notes(edition_with_shown_pause: str = "", edition_with_shown_deadline: str = "") -> PageNotes:
        app_state, staff = get_app_state(), find_current_staff()
        is_read_by_admin = staff is not None and staff.role == Role.ADMIN
        with app_state.database.read() as session:
            return build_page_notes(
                session,
                app_state.clock(),
                app_state.installation.settings.file,
                is_admin=is_read_by_admin,
                viewer=staff.actor.name if staff is not None else "",
                edition_with_shown_pause=edition_with_shown_pause,
                edition_with_shown_deadline=edition_with_shown_deadline,
            )

    return {"attention": read_notes}


@desk_pages.get("/")
def index() -> ResponseReturnValue:
    """Show the current edition, or the first steps if there's none.

    While the edition is being sent, redirect to the page about sending it.
    """
    app_state = get_app_state()
    try:
        edition = edition_views.read_edition(app_state.installation, "current")
    except UnknownEditionError:
        return render_template(
            "web/desk/edition/empty.html", sources=edition_views.count_active_sources(app_state.installation)
        )
    if edition.state is EditionState.SENDING and not request.args:
        return redirect(url_for("sending.show_sending", name=edition.name))
    with app_state.database.share_read_session():
        return _edition_page(edition)


@desk_pages.get("/editions/<name>")
def edition(name: str) -> ResponseReturnValue:
    """Show an edition by its name."""
    app_state = get_app_state()
    with app_state.database.share_read_session():
        return _edition_page(edition_views.read_edition(app_state.installation, name))


def _edition_page(edition: Edition) -> str:
    app_state, query = get_app_state(), read_page_query(request.args)
    installation, now = app_state.installation, app_state.clock()
    state = editing_state.find_editing_state(installation, edition)
    if state and request.args.get("part") == "results":
        return render_story_results(state, query)
    if state and request.args.get("part") == "choices":
        return render_story_choices(state, query)
    if state and request.args.get("part") == "score":
        return render_story_score(state, query.about)
    if state:
        return render_edit_page(state, query)
    view = edition_views.view_edition(installation, edition, now=now)
    summary = edition_views.read_edition_summary(installation, edition, recent=app_state.recent_counts, now=now)
    outline = build_edition_page_data(edition, summary.stories, app_state.settings.file.sections)
    return render_template(
        "web/desk/edition/edition.html",
        edition=edition,
        view=view,
        now=now,
        is_admin=is_admin(),
        sent=summary.sent,
        outline=outline,
        checks=summarize_checks(_find_faults(edition), outline),
        page=edition_views.search_edition_stories(
            installation,
            edition,
            placed=_PLACED.get(query.filter),
            words=query.q,
            start=query.pool.start,
            limit=MAX_POOL_STORIES,
        ),
        asked=query,
        filters=STORY_FILTERS,
        views=PREVIEW_MODES,
        preview=find_preview_mode(query.view),
        octets=len(editions.render_edition_bytes(installation, edition, "html")),
        changed=describe_editor_changes(summary.editor_counts) if summary.editor_counts else "",
    )


def _find_faults(edition: Edition) -> Sequence[PreflightFinding]:
    """Return the preflight findings to show for an edition that hasn't been sent, or none for a sent one."""
    if edition.state not in COMING_STATES:
        return ()
    app_state = get_app_state()
    mail = edition_checks.check_edition_email(app_state.installation, edition, now=app_state.clock())
    return word_findings_for_viewer(mail.findings)


@desk_pages.get("/preview/<name>/<view>")
def show_edition_preview_frame(name: str, view: str) -> ResponseReturnValue:
    """Return an edition in a preview mode without the sections that the query omits."""
    if view not in {v.key for v in PREVIEW_MODES}:
        abort(404, f"There is no view called {view}.")
    app_state = get_app_state()
    row = edition_views.read_edition(app_state.installation, name)
    if view != "inbox":
        output_format: editions.EditionFormat = "text" if view == "text" else "html"
        body = editions.render_edition_bytes(
            app_state.installation,
            row,
            output_format,
            omit=request.args.getlist("omit"),
            short=request.args.get("short") == "yes",
        )
        edit_url = _link_to_forms(name, view) if request.args.get("edit") == "yes" else None
        return build_preview_response(body.decode(), view, EditionContent.from_json(row.content), edit_url)
    preheader = editions.read_preheader(app_state.installation, name, request.args.getlist("omit"))
    sender = app_state.settings.file.sender.name
    response = Response(render_template("web/desk/edition/inbox.html", edition=row, preheader=preheader, sender=sender))
    response.headers["Content-Security-Policy"] = STRICT_POLICY.replace(
        "frame-ancestors 'none'", "frame-ancestors 'self'"
    )
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _link_to_forms(name: str, view: str) -> Callable[[str], str]:
    """Return a function that returns the URL of a story's form, given its place in the preview."""
    omitted = ",".join(request.args.getlist("omit"))
    query = EditionPageQuery(view=view, omit=omitted, open="place")
    values: dict[str, Any] = query.but()
    url = url_for("desk.edition", name=name, _anchor="headline", **values)
    return lambda place: url.replace("open=place", f"open={place}")


@desk_pages.get("/editions/<name>/approve")
def show_review_page(name: str) -> ResponseReturnValue:
    """Show everything that an approval covers, and its content hash."""
    with get_app_state().database.share_read_session():
        return _review_page(name)


@desk_pages.post("/editions/<name>/check-links")
def check_links(name: str) -> ResponseReturnValue:
    """Show the review page with the results of checking the links to our own site.

    Nothing is changed.
    """
    app_state = get_app_state()
    findings = edition_checks.check_edition(app_state.installation, name, own_site=True, now=app_state.clock())
    return _review_page(name, findings)


def _review_page(name: str, visited: Sequence[PreflightFinding] | None = None) -> str:
    """Render the page on which an edition is reviewed and approved.

    `visited` contains the findings after a visit to our own site, if one was requested.
    """
    app_state = get_app_state()
    installation, now = app_state.installation, app_state.clock()
    view = edition_views.view_edition(installation, edition_views.read_edition(installation, name), now=now)
    outdated = edit_application.is_draft_behind_settings(installation, view.edition.name)
    mail = edition_checks.render_and_check_edition_email(installation, view.edition.name, now=now)
    outline = build_edition_page_data(view.edition, (), app_state.settings.file.sections)
    return render_template(
        "web/desk/approval/approve.html",
        edition=view.edition,
        view=view,
        mail=mail,
        now=now,
        is_admin=is_admin(),
        checks=summarize_checks(word_findings_for_viewer(mail.findings if visited is None else visited), outline),
        visited=visited is not None,
        standing=read_approval_status(view.edition, for_review=True),
        hosts=approval_overviews.list_edition_link_hosts(installation, view.edition.name),
        outdated=outdated,
        changed=edit_application.find_settings_change_after_draft(installation, view.edition) if outdated else None,
    )


@desk_pages.post("/editions/<name>/approve")
def submit_approval(name: str) -> ResponseReturnValue:
    """Approve the version that was reviewed.

    If the edition has changed since then, explain this and approve nothing.
    """
    mark = request.form.get("mark", "")
    confirmed = request.form.getlist("confirmed")
    result = edition_approval.approve_edition(
        get_app_state().installation, name, mark, confirmed=confirmed, **get_actor_and_time()
    )
    if result.unchecked:
        return redirect(url_for("desk.show_review_page", name=name, unchecked="yes"), 303)
    return _edition_redirect(name)


@desk_pages.post("/editions/<name>/void")
def revoke_approval(name: str) -> ResponseReturnValue:
    """Revoke an approval, so that the edition is a draft again."""
    app_state = get_app_state()
    edition_approval.revoke_approval(app_state.installation, name, **get_actor_and_time())
    return _edition_redirect(name)


@desk_pages.post("/editions/<name>/<any(pause, resume):act>")
def pause_or_resume(name: str, act: str) -> ResponseReturnValue:
    """Pause or resume the sending of an edition."""
    app_state = get_app_state()
    if act == "pause":
        sending.pause_edition(app_state.installation, name, reason="", **get_actor_and_time())
    else:
        sending.resume_edition(app_state.installation, name, **get_actor_and_time())
    return redirect(url_for("sending.show_sending", name=name), 303)


def _edition_redirect(name: str) -> ResponseReturnValue:
    return redirect(url_for("desk.edition", name=name), 303)


@desk_pages.get("/sources")
def show_sources() -> ResponseReturnValue:
    """Show the status of every source, beginning with those that need attention."""
    installation, now = get_app_state().installation, get_app_state().clock()
    rows = build_source_rows(edition_views.list_all_sources(installation), now)
    table = source_overview.read_source_statistics(installation, now=now)
    removed = request.args.get("removed", "")
    inactive = (row.source for row in rows if not row.source.active)
    names = [source.name for source in inactive if str(source.id) == removed]
    lock = source_overview.explain_source_lock(installation.settings)
    return render_template("web/desk/sources.html", rows=rows, now=now, table=table, removed="".join(names), lock=lock)


@desk_pages.get("/sent")
def list_sent_editions() -> ResponseReturnValue:
    """List the editions that are being sent or were sent or canceled, with delivery counts and editors' changes."""
    app_state = get_app_state()
    before = request.args.get("before", "")
    departed = edition_views.list_sent_or_canceled_editions(
        app_state.installation, before=before, recent=app_state.recent_counts, now=app_state.clock()
    )
    rows = departed.editions
    return render_template(
        "web/desk/sending/sent.html",
        rows=[(SentEditionRow(each.edition, each.counts), each.progress_sentence) for each in rows],
        counted=() if before else edition_views.read_edition_change_counts(app_state.installation),
        before=before,
        older_than=departed.older_than,
    )


@desk_pages.get("/editions/<name>/test")
def show_test_email_form(name: str) -> ResponseReturnValue:
    """Show the form for a test email, addressed to oneself by default, or the results of a test."""
    serial = request.args.get("sent", "")
    report = sending.read_test_report(get_app_state().installation, name, serial) if serial else None
    return _test_mail_page(name, report=report)


@desk_pages.post("/editions/<name>/test")
def submit_test_mail(name: str) -> ResponseReturnValue:
    """Send the current edition to the chosen staff members, and redirect to the results."""
    app_state, chosen = get_app_state(), request.form.getlist("to")
    members = sending.list_test_recipients(app_state.installation)
    to = [member.email for member in members if str(member.id) in chosen]
    if members and not to:
        return _test_mail_page(name, error="No recipients were selected. Select at least one."), 409
    try:
        actor, clock = current_actor(), app_state.clock
        report = sending.send_test_email(app_state.installation, name, to=to, actor=actor, clock=clock)
    except (ApprovalError, ComposeError, SendError, ProviderSettingsError) as exc:
        return _test_mail_page(name, error=str(exc)), 409
    if report.stopped:
        # The reason isn't stored, so it's only shown now.
        return _test_mail_page(name, report=report), 409
    return redirect(url_for("desk.show_test_email_form", name=name, sent=report.serial), 303)


def _test_mail_page(name: str, report: StaffTestReport | None = None, error: str = "") -> str:
    installation, own = get_app_state().installation, current_staff().member_id
    row = edition_views.read_edition(installation, name)
    tested = {result.email for result in report.tested} if report else set()
    members = sorted(sending.list_test_recipients(installation), key=lambda member: member.id != own)
    ids = {member.email: member.id for member in members}
    chosen = [ids[email] for email in tested & ids.keys()] if tested else [own]
    return render_template(
        "web/desk/sending/test.html",
        edition=row,
        members=members,
        chosen=chosen,
        own=own,
        report=report,
        why=error,
        is_written_to_files=sending.saves_emails_to_files(installation),
        all_paused=sending.is_all_sending_paused(installation),
    )


@desk_pages.post("/editions/<name>/test/address")
def email_address_verification_link(name: str) -> ResponseReturnValue:
    """Email the staff member a link for verifying their own address, and return to the test form."""
    app_state = get_app_state()
    edition = edition_views.read_edition(app_state.installation, name).name
    try:
        email_own_verification_link(app_state.installation, current_staff(), edition=edition, now=app_state.clock())
    except (StaffError, TooManyAttemptsError) as exc:
        return _test_mail_page(name, error=str(exc)), 429 if isinstance(exc, TooManyAttemptsError) else 409
    flash("sent", "link")
    return redirect(url_for("desk.show_test_email_form", name=name), 303)
