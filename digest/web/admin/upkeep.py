"""Maintenance pages for admins: the audit log, the record of processing activities, and the health check."""

import io
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Annotated

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, AwareDatetime, Field

from digest.app.doctor.examination import list_checks
from digest.app.doctor.health_reports import ExaminationRunningError, ExaminationStage
from digest.app.site.processing_record import view_processing_record
from digest.app.upkeep import audit_log, audit_topics
from digest.app.upkeep.audit_log import AuditFilter, AuditPosition
from digest.installation.action_reasons import might_contain_address
from digest.web.admin.blueprint import (
    admin_pages,
    get_installation_actor_and_time,
    make_download_response,
    refresh_page,
)
from digest.web.app_state import get_app_state
from digest.web.forms import Day, FormOrQueryModel, ReasonForm, read_form, read_query
from subscribers.errors import RefusalError
from subscribers.pages.forms import FormError

# The seconds between reloads of the page while a check is running. No script is needed.
REFRESH_SECONDS = 1
_MAX_FIELD_LENGTH = 200  # characters
_MAX_ROW = 10**18 - 1
_KNOWN_ACTORS = (("scheduler", "The scheduler"), (audit_log.TERMINAL_ACTORS, "A terminal"))


def _check_text(text: str) -> str:
    if might_contain_address(text):
        raise ValueError("email addresses aren't allowed in URLs")
    return " ".join(text.replace("\0", "").split())[:_MAX_FIELD_LENGTH]


def _check_what(text: str) -> str:
    if text and text not in audit_topics.TOPICS and not audit_topics.is_known_action(text):
        raise ValueError("There's no such topic or action.")
    return text


QueryText = Annotated[str, AfterValidator(_check_text)]


class AuditQuery(FormOrQueryModel):
    """The query that filters the audit log.

    Invalid values are ignored.
    """

    who: QueryText = ""
    what: Annotated[QueryText, AfterValidator(_check_what)] = ""
    about: QueryText = ""
    first: Day | None = Field(default=None, alias="from")
    last: Day | None = Field(default=None, alias="to")

    def as_url(self) -> dict[str, str]:
        """Return the values for a URL's query."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def as_filter(self) -> AuditFilter:
        """Return the filter that selects rows of the audit log.

        Days begin at midnight in the publication's time zone.
        """
        is_topic = self.what in audit_topics.TOPICS
        return AuditFilter(
            actor=self.who,
            topic=self.what if is_topic else "",
            act="" if is_topic else self.what,
            subject=audit_topics.parse_subject(self.about),
            since=_find_midnight(self.first) if self.first else None,
            until=_find_midnight(self.last + timedelta(days=1)) if self.last else None,
        )


class AuditPositionQuery(FormOrQueryModel):
    """The position at which the page continues, from a link: the time and number of a row."""

    at: AwareDatetime
    row: Annotated[int, Field(ge=-_MAX_ROW, le=_MAX_ROW)]


@admin_pages.get("/audit")
def show_audit_log() -> ResponseReturnValue:
    """Show a page of the audit log, newest first."""
    installation, actor, now = get_installation_actor_and_time()
    query, place = read_query(AuditQuery), _read_place()
    view = audit_log.view_audit_log(installation, actor, query.as_filter(), below=place, now=now)
    days = groupby(view.rows, lambda row: row.at.astimezone(get_app_state().zone).date())
    names = sorted(view.names.items(), key=lambda item: item[1])
    groups = (("Team", names), ("Not signed in", _KNOWN_ACTORS))
    return render_template(
        "web/admin/upkeep/audit.html",
        view=view,
        query=query.as_url(),
        topics=audit_topics,
        read_detail=audit_log.read_entry_detail,
        actors=[(title, members) for title, members in groups if members],
        days=[list(rows) for _, rows in days],
    )


@admin_pages.post("/audit/check")
def submit_audit_check() -> ResponseReturnValue:
    """Verify the whole chain of the log."""
    installation, actor, now = get_installation_actor_and_time()
    audit_log.check_audit_log(installation, actor, now=now)
    return redirect(url_for("admin.show_audit_log"), 303)


@admin_pages.get("/audit/export")
def show_audit_export_form() -> ResponseReturnValue:
    """Ask for the reason for exporting the log."""
    return _export_page()


@admin_pages.post("/audit/export")
def export_audit_log() -> ResponseReturnValue:
    """Return the filtered rows as CSV that can't contain formulas."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        reason = read_form(ReasonForm).reason
    except FormError as exc:
        return _export_page(refusal=exc), 400
    file, log_filter = io.StringIO(), read_query(AuditQuery, request.form).as_filter()
    audit_log.export_audit_log(installation, actor, log_filter, reason, file, now=now)
    day = now.astimezone(get_app_state().zone).date()
    return make_download_response(file.getvalue(), "text/csv", f"audit-log-{day}.csv")


def _export_page(*, refusal: RefusalError | None = None) -> str:
    query = read_query(AuditQuery, request.values)
    return render_template("web/admin/upkeep/audit_export.html", refusal=refusal, query=query.as_url())


def _find_midnight(day: date) -> datetime:
    return datetime.combine(day, time(), get_app_state().zone).astimezone(UTC)


def _read_place() -> AuditPosition | None:
    try:
        place = read_form(AuditPositionQuery, request.args)
        return AuditPosition(place.at.astimezone(UTC), place.row)
    except (FormError, OverflowError):
        return None


@admin_pages.get("/processing")
def show_gdpr_processing_record() -> ResponseReturnValue:
    """Show the record of processing activities, based on the current settings."""
    installation, actor, now = get_installation_actor_and_time()
    record = view_processing_record(installation, actor, now=now)
    return render_template("web/admin/site/processing.html", record=record, now=now)


@admin_pages.get("/health")
def show_health_report() -> ResponseReturnValue:
    """Show the results of the last health check, and the progress of a running one."""
    report = get_app_state().health.latest
    stage = report.stage if report else None  # before the results are read, because the check may end in between
    findings = report.sorted_findings() if report else []
    page = render_template(
        "web/admin/doctor/health.html", report=report, stage=stage, findings=findings, checks=list_checks()
    )
    return refresh_page(page, every_seconds=REFRESH_SECONDS if stage is ExaminationStage.RUNNING else 0)


@admin_pages.post("/health")
def start_health_check() -> ResponseReturnValue:
    """Start a health check, including network checks if they were chosen, and redirect to its page."""
    installation, actor, now = get_installation_actor_and_time()
    is_online = request.form.get("online") == "yes"
    with suppress(ExaminationRunningError):  # the page shows the running check
        get_app_state().health.begin(installation, actor, is_online=is_online, now=now)
    return redirect(url_for("admin.show_health_report"), 303)
