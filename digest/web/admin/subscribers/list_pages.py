"""Admin pages about the whole list: export, permission emails, lifting a suppression, and growth."""

import tempfile
from contextlib import nullcontext
from datetime import date, datetime
from typing import Annotated, Literal

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, BeforeValidator

from digest.app.subscribers import inactivity_questions, list_transfers, subscriber_actions, subscriber_views
from digest.app.subscribers.growth import EditionResults, GrowthView, view_list_growth
from digest.app.subscribers.inactivity_questions import MOST_YEARS, USUAL_YEARS
from digest.installation.guarded_action_notices import find_guarded_notice_recipients
from digest.web.admin.blueprint import admin_pages, get_installation_actor_and_time, make_download_response
from digest.web.admin.subscribers.subscriber_pages import SubscriberQuery
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff
from digest.web.charts import Chart, LimitLine, draw_bar_chart, draw_line_chart
from digest.web.forms import Count, Day, FormOrQueryModel, Reason, ReasonForm, read_form, read_query
from subscribers.consent.ledger import UNSUBSCRIBE_REASONS
from subscribers.consent.preferences import FREQUENCY_LABELS
from subscribers.english_text import clock_hour, short_month_day
from subscribers.errors import RefusalError
from subscribers.pages.forms import FormError
from subscribers.transfer.exports import ExportRecipient

# The number offered by the form, which is low because new senders should start with few emails.
FIRST_QUESTIONS = 50
MAX_QUESTIONS = 5000  # per submission
OFFERED_YEARS = (1, 2, 3, 5)
# Mailbox providers' guidelines for senders: Gmail, support.google.com/a/answer/81126; Yahoo,
# senders.yahooinc.com; as of November 2026.
RECEIVER_COMPLAINT_LIMIT = 0.003
GMAIL_COMPLAINT_AIM = 0.001
WIDE_CHART = (900, 250)


def _check_most(most: int) -> int:
    if not 0 < most <= MAX_QUESTIONS:
        raise ValueError(f"Enter a number from 1 to {MAX_QUESTIONS:,}.")
    return most


def _check_years(years: int) -> int:
    if not 0 < years <= MOST_YEARS:
        raise ValueError(f"Enter a number of years from 1 to {MOST_YEARS}.")
    return years


OptionalDay = Annotated[Day | None, BeforeValidator(lambda text: text or None)]


class ExportDaysForm(FormOrQueryModel):
    """The first and last day of sign-ups in an export, if any."""

    since: OptionalDay = None
    until: OptionalDay = None

    def change_days(self, query: SubscriberQuery) -> SubscriberQuery:
        """Return a filter of the list with the days from this form in place of its own."""
        return query.model_copy(update=self.model_dump(include={"since", "until"} & self.model_fields_set))


class ExportForm(ExportDaysForm, ReasonForm):
    """The reason for an export, its recipient, and its days."""

    to: Reason = ""


class PermissionRequestForm(FormOrQueryModel):
    """The maximum number of people to ask."""

    most: Annotated[Count, AfterValidator(_check_most)]


class InactivityCountForm(FormOrQueryModel):
    """The number of years without activity."""

    years: Annotated[Count, AfterValidator(_check_years)]


class InactivityQuestionForm(InactivityCountForm, PermissionRequestForm):
    """The inactive subscribers to ask, and what happens to those who don't answer."""

    unanswered: Literal["stays", "taken off"] = "stays"


class SuppressionRemovalForm(ReasonForm):
    """The address whose owner may sign up again. It's checked by the action."""

    address: str = ""


class AskedCountQuery(FormOrQueryModel):
    """The number of people who were just asked, or None."""

    asked: Count | None = None


@admin_pages.get("/readers/export")
def show_export_form() -> ResponseReturnValue:
    """Ask for the reason for exporting the filtered list, and for the recipient of the export."""
    return _export_page(_read_whole_query())


@admin_pages.post("/readers/export")
def export_list() -> ResponseReturnValue:
    """Return the filtered list as CSV that can't contain formulas, or only count its subscribers.

    Each person in the file can see the disclosure.
    """
    installation, actor, now = get_installation_actor_and_time()
    query = _read_whole_query()
    try:
        if "count" in request.form:
            return _export_page(read_form(ExportDaysForm).change_days(query))
        form = read_form(ExportForm)
    except FormError as exc:
        return _export_page(query, refusal=exc), 400
    query = form.change_days(query)
    recipient = ExportRecipient(form.to, form.reason, current_staff().sign_in)
    # The file has no name, and is deleted once it's sent.
    file = tempfile.TemporaryFile("w+", newline="", encoding="utf-8", dir=installation.settings.home)  # noqa: SIM115 - sent below
    try:
        list_transfers.export_list(
            installation, actor, nullcontext(file), recipient, now=now, list_filter=query.as_filter()
        )
    except RefusalError as exc:
        file.close()
        return _export_page(query, refusal=exc), 409
    day = now.astimezone(get_app_state().zone).date()
    return make_download_response(list_transfers.read_pieces(file), "text/csv", f"subscribers-{day}.csv")


def _read_whole_query() -> SubscriberQuery:
    """Return the filter of the subscriber list from the URL.

    An invalid one is rejected, because it must not export everyone.
    """
    query = read_query(SubscriberQuery)
    if request.args.keys() - query.as_url().keys():
        abort(400, "The filter can't be read. Go back to the list and filter it again.")
    return query


def _name_import(batch: int) -> str:
    """Return an import's number and, if it's finished, the name of its file."""
    installation, actor, now = get_installation_actor_and_time()
    finished = list_transfers.find_finished_import(installation, actor, batch, now=now)
    return f"{batch}, {finished.name}" if finished else str(batch)


def _export_page(query: SubscriberQuery, *, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    list_filter = query.as_filter()
    count, matches = subscriber_views.count_exportable(installation, actor, list_filter, now=now)
    return render_template(
        "web/admin/subscribers/export.html",
        query=query,
        count=count,
        matches=matches,
        domain_name=list_transfers.describe_filter_domain(installation, list_filter),
        parts=dict(list_transfers.list_sections_and_topics(installation)),
        import_name=_name_import(query.batch) if query.batch else "",
        frequencies=FREQUENCY_LABELS,
        notified=find_guarded_notice_recipients(installation.database, actor.name).words,
        refusal=refusal,
    )


@admin_pages.get("/readers/ask")
def show_permission_form() -> ResponseReturnValue:
    """Describe the recipients of the permission email."""
    return _asking_page()


@admin_pages.post("/readers/ask")
def ask_unverified_people() -> ResponseReturnValue:
    """Queue the permission email for people without evidence of consent, up to the form's maximum."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        most = read_form(PermissionRequestForm).most
    except FormError as exc:
        return _asking_page(refusal=exc), 400
    asked_count = list_transfers.ask_unverified_people(installation, actor, limit=most, now=now)
    return redirect(url_for("admin.show_permission_form", asked=asked_count), 303)


def _asking_page(*, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    candidates = list_transfers.count_unverified_people(installation, actor, now=now)
    return render_template(
        "web/admin/subscribers/ask.html",
        candidates=candidates,
        asked=read_query(AskedCountQuery).asked,
        first=min(FIRST_QUESTIONS, candidates),
        refusal=refusal,
    )


@admin_pages.get("/readers/silent")
def show_inactive_form() -> ResponseReturnValue:
    """Describe the question to inactive subscribers, and ask for the period."""
    return _silence_page(asked_count=read_query(AskedCountQuery).asked)


@admin_pages.post("/readers/silent/count")
def count_inactive_subscribers() -> ResponseReturnValue:
    """Count the inactive subscribers who would be asked, by scanning the whole list."""
    try:
        return _counted_page(read_form(InactivityCountForm).years)
    except FormError as exc:
        return _silence_page(refusal=exc), 400


@admin_pages.post("/readers/silent")
def ask_inactive_subscribers() -> ResponseReturnValue:
    """Queue the question for inactive subscribers, up to the form's maximum."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(InactivityQuestionForm)
    except FormError as exc:
        years = USUAL_YEARS if "years" in exc.problems else read_form(InactivityCountForm).years
        return _counted_page(years, refusal=exc), 400
    takes_off = form.unanswered == "taken off"
    asked_count = inactivity_questions.ask_inactive_subscribers(
        installation, actor, form.years, takes_off=takes_off, limit=form.most, now=now
    )
    return redirect(url_for("admin.show_inactive_form", asked=asked_count), 303)


def _counted_page(years: int, *, refusal: RefusalError | None = None) -> str:
    installation, actor, now = get_installation_actor_and_time()
    silent = inactivity_questions.count_inactive_subscribers(installation, actor, years, now=now)
    return _silence_page(years=years, silent=silent, refusal=refusal)


def _silence_page(
    *,
    years: int = USUAL_YEARS,
    silent: int | None = None,
    asked_count: int | None = None,
    refusal: RefusalError | None = None,
) -> str:
    return render_template(
        "web/admin/subscribers/silent.html",
        offered=OFFERED_YEARS,
        years=years,
        silent=silent,
        asked=asked_count,
        refusal=refusal,
        first=min(FIRST_QUESTIONS, silent or 0),
        most=MAX_QUESTIONS,
        days=inactivity_questions.ANSWER_DAYS,
    )


@admin_pages.get("/readers/allow")
def show_suppression_form() -> ResponseReturnValue:
    """Explain what lifting a suppression does, and ask for the address."""
    return _allowing_page()


@admin_pages.post("/readers/allow")
def remove_suppression() -> ResponseReturnValue:
    """Let the owner of a suppressed address sign up again.

    This doesn't subscribe anyone.
    """
    installation, actor, now = get_installation_actor_and_time()
    try:
        form = read_form(SuppressionRemovalForm)
        subscriber_actions.allow_signup_again(installation, actor, form.address, form.reason, now=now)
    except RefusalError as exc:
        return _allowing_page(refusal=exc), 400
    flash("allowed", "allowed")
    return redirect(url_for("admin.show_suppression_form"), 303)


def _allowing_page(*, refusal: RefusalError | None = None) -> str:
    return render_template("web/admin/subscribers/allow.html", refusal=refusal)


@admin_pages.get("/growth")
def show_growth() -> str:
    """Show the growth of the list, feedback from mailbox providers, the last edition by hour, and popular stories."""
    installation, actor, now = get_installation_actor_and_time()
    view = view_list_growth(installation, actor, now=now)
    return render_template(
        "web/admin/subscribers/growth.html",
        view=view,
        before=view.subscribers_before(7),
        year=view.subscribers_before(365),
        charts={
            "subscribers": _draw_subscribers(view),
            "left": _draw_left(view.edition_results),
            "refused": _draw_share(view, "refused", view.hard_bounces_pause_share, "stop rule"),
            "complained": _draw_share(view, "complained", RECEIVER_COMPLAINT_LIMIT, "Gmail and Yahoo"),
            "hours": _draw_hours(view),
        },
        percent=format_percent,
        unsubscribe_reasons=UNSUBSCRIBE_REASONS,
        gmail_aim=GMAIL_COMPLAINT_AIM,
        limit=RECEIVER_COMPLAINT_LIMIT,
    )


def format_percent(share: float) -> str:
    """Format a share from 0 to 1 as a percentage.

    It has up to three decimals, or two if it's at least 1%: "0.024%", "1.18%".
    """
    percent = share * 100
    text = f"{percent:.{2 if percent >= 1 else 3}f}".rstrip("0").rstrip(".")
    return f"{text}%"


def _write_count(number: float) -> str:
    return f"{number:,.0f}"


def _draw_subscribers(view: GrowthView) -> Chart | None:
    weeks = view.weekly_subscribers
    if len(weeks) < 2:
        return None
    labels = [_label_week(day) for day, _ in weeks]
    begin, end = (f"{count:,} on {short_month_day(day)}, {day.year}" for day, count in (weeks[0], weeks[-1]))
    sentence = f"Subscribers by week, from {begin}, to {end}"
    counts = [count for _, count in weeks]
    return draw_line_chart(sentence, labels, counts, write=_write_count, min_step=1, size=WIDE_CHART)


def _label_week(day: date) -> str:
    """Return the label of the first week of a month, or "" for other weeks.

    In January, the year replaces the day to save space.
    """
    if day.day > 7:
        return ""
    return f"{day:%b %Y}" if day.month == 1 else short_month_day(day)


def _draw_left(edition_results: tuple[EditionResults, ...]) -> Chart | None:
    if not edition_results:
        return None
    rates = [edition_results.share(edition_results.unsubscribed_count) * 1000 for edition_results in edition_results]
    sentence = f"Unsubscribes per 1,000 subscribers after each edition, between {min(rates):.1f} and {max(rates):.1f}"
    return draw_bar_chart(sentence, _list_numbers(edition_results), rates, write=lambda rate: f"{rate:g}")


def _list_numbers(edition_results: tuple[EditionResults, ...]) -> list[str]:
    return [str(edition_results.number) for edition_results in edition_results]


def _draw_share(view: GrowthView, name: str, limit: float, whose: str) -> Chart | None:
    if not view.edition_results:
        return None
    shares = [edition_results.share(getattr(edition_results, name)) for edition_results in view.edition_results]
    line = LimitLine(limit, f"{whose}, {format_percent(limit)}")
    between = f"{format_percent(min(shares))} and {format_percent(max(shares))}"
    sentence = f"Share of each edition, between {between}. The dashed line is {line.words}"
    return draw_line_chart(sentence, _list_numbers(view.edition_results), shares, write=format_percent, limit=line)


def _label_hour(at: datetime, *, is_first: bool) -> str:
    """Return the label of an hour on the axis of a chart.

    The first hour, noon, and midnight are written as on a clock, and the others only as numbers to
    save space.
    """
    words = clock_hour(at)
    return words if is_first or at.hour in (0, 12) else words.partition(" ")[0]


def _draw_hours(view: GrowthView) -> Chart | None:
    if not view.hours:
        return None
    busiest, most = max(view.hours, key=lambda hour: hour[1])
    sentence = f"Emails by hour, with the most ({most:,}) from {clock_hour(busiest)}"
    labels = [_label_hour(at, is_first=place == 0) for place, (at, _) in enumerate(view.hours)]
    counts = [count for _, count in view.hours]
    return draw_bar_chart(sentence, labels, counts, write=_write_count, min_step=1)
