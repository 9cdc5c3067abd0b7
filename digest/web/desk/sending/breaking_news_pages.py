"""Breaking news at the desk: an extra edition of chosen stories, and the page for sending it now."""

from collections.abc import Callable, Sequence

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.editing import breaking_news_drafts, editing_state
from digest.app.editing.editing_state import EditRefusedError
from digest.app.sending import breaking_news
from digest.app.sending.breaking_news import SendNowError
from digest.store.models import EditionState
from digest.web.app_state import get_app_state
from digest.web.auth.access import get_actor_and_time
from digest.web.desk.approval.approval_pages import read_approval_status
from digest.web.desk.editing.desk_actions import find_anchored_story

breaking_news_pages = Blueprint("breaking_news", __name__, url_prefix="/desk")


@breaking_news_pages.app_context_processor
def provide_unsent_breaking_news() -> dict[str, Callable[[], Sequence[object]]]:
    """Provide breaking news that has to be approved or sent to every page of the desk."""

    def unsent_breaking_news() -> Sequence[object]:
        if request.blueprint == breaking_news_pages.name or not request.path.startswith("/desk"):
            return ()
        app_state = get_app_state()
        return breaking_news_drafts.list_pressing_breaking_news(app_state.installation, now=app_state.clock())

    return {"unsent_breaking_news": unsent_breaking_news}


@breaking_news_pages.get("/breaking-news")
def show_breaking_news() -> ResponseReturnValue:
    """Show the form for drafting an extra edition, and list the unsent extra editions.

    A story of another edition can be chosen already.
    """
    name, anchor = request.args.get("edition", ""), request.args.get("story", "")
    if not name:
        return _draft_page()
    state = editing_state.read_editing_state(get_app_state().installation, name)
    story = state.arrangement.find_story(find_anchored_story(state, anchor))
    return _draft_page(chosen=[story.original.lead.link] if story else [])


@breaking_news_pages.post("/breaking-news")
def draft_breaking_news() -> ResponseReturnValue:
    """Draft an extra edition of the chosen stories, and redirect to it."""
    addresses = [*request.form.getlist("story"), *request.form.get("urls", "").split()]
    try:
        name = breaking_news_drafts.draft_breaking_news(get_app_state().installation, addresses, **get_actor_and_time())
    except EditRefusedError as exc:
        return _draft_page(str(exc)), 409
    return redirect(url_for("desk.edition", name=name), 303)


def _draft_page(refusal: str = "", chosen: Sequence[str] = ()) -> str:
    app_state = get_app_state()
    return render_template(
        "web/desk/sending/breaking_news.html",
        articles=breaking_news_drafts.list_suggested_articles(app_state.installation, now=app_state.clock()),
        coming=breaking_news_drafts.list_coming_breaking_news(app_state.installation),
        chosen=request.form.getlist("story"),
        typed=request.form.get("urls", "\n".join(chosen)),
        max_stories=breaking_news_drafts.MAX_STORIES,
        is_offered=app_state.installation.settings.file.preferences.offers_breaking_news,
        refusal=refusal,
    )


@breaking_news_pages.get("/editions/<name>/send-now")
def ask_before_sending_now(name: str) -> ResponseReturnValue:
    """Ask whether to send breaking news now, and show the number of recipients."""
    return _send_now_page(name)


@breaking_news_pages.post("/editions/<name>/send-now")
def send_now(name: str) -> ResponseReturnValue:
    """Send breaking news now, and redirect to its sending page."""
    shown = request.form.get("mark", "")
    try:
        breaking_news.request_send_now(get_app_state().installation, name, content_hash=shown, **get_actor_and_time())
    except SendNowError as exc:
        return make_response(_send_now_page(name, str(exc)), 409)
    return redirect(url_for("sending.show_sending", name=name), 303)


def _send_now_page(name: str, refusal: str = "") -> ResponseReturnValue:
    app_state = get_app_state()
    view = breaking_news.view_send_now(app_state.installation, name, now=app_state.clock())
    edition = view.edition
    if edition.send_requested_at or edition.state in {EditionState.SENDING, EditionState.SENT}:
        return redirect(url_for("sending.show_sending", name=edition.name), 303)
    return render_template(
        "web/desk/sending/send_now.html",
        view=view,
        edition=edition,
        refusal="" if view.obstacle else refusal,  # the page shows the obstacle anyway
        standing=read_approval_status(edition),
        renews=edition.state != EditionState.APPROVED and request.args.get("renew") != "no",
    )
