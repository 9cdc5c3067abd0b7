"""The audit log, for admins: pages by person, act, subject and date, its check, and its export with a reason."""

import io
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.upkeep import audit_log, audit_topics
from digest.app.upkeep.audit_log import AuditFilter, AuditPlace
from digest.installation.reasons import ReasonError, may_hold_address, read_reason
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from subscribers.errors import RefusalError

_FIELDS = ("who", "what", "about", "from", "to")
_MAX_FIELD_LENGTH = 200  # characters
_KNOWN_ACTORS = (("scheduler", "The timetable"), (audit_log.TERMINAL_ACTORS, "A terminal"))


@admin_pages.get("/audit")
def show_audit_log() -> ResponseReturnValue:
    """Show a page of the audit log, newest first."""
    return _audit_page()


@admin_pages.post("/audit/check")
def check_audit_log() -> ResponseReturnValue:
    """Check the chain of the log from its first row."""
    context = web_context()
    audit_log.check_audit_log(context.installation, current_actor(), now=context.clock())
    return redirect(url_for("admin.show_audit_log"), 303)


@admin_pages.get("/audit/export")
def ask_before_audit_export() -> ResponseReturnValue:
    """Ask why the log is exported."""
    return _export_page()


@admin_pages.post("/audit/export")
def export_audit_log() -> ResponseReturnValue:
    """Give the rows that are wanted as a CSV file that no spreadsheet executes."""
    context, file = web_context(), io.StringIO()
    try:
        reason = read_reason(request.form.get("reason", ""))
    except ReasonError as exc:
        return _export_page(refusal=exc), 400
    wanted = _read_filter(_read_query(request.form))
    now = context.clock()
    audit_log.export_audit_log(context.installation, current_actor(), wanted, reason, file, now=now)
    answer = Response(file.getvalue(), mimetype="text/csv")
    day = now.astimezone(context.zone).date()
    answer.headers["Content-Disposition"] = f'attachment; filename="audit-log-{day}.csv"'
    return answer


def _audit_page() -> str:
    context, query = web_context(), _read_query(request.args)
    view = audit_log.view_audit_log(
        context.installation, current_actor(), _read_filter(query), below=_read_place(), now=context.clock()
    )
    return render_template(
        "web/admin/upkeep/audit.html",
        view=view,
        query=query,
        topics=audit_topics,
        read_detail=audit_log.read_detail,
        actors=[*sorted(view.names.items(), key=lambda item: item[1]), *_KNOWN_ACTORS],
        days=_split_by_day(view.rows),
        zone=context.zone,
    )


def _export_page(*, refusal: RefusalError | None = None) -> str:
    query = _read_query(request.values)
    return render_template("web/admin/upkeep/audit_export.html", refusal=refusal, query=query)


def _split_by_day(rows: Any) -> list[tuple[datetime, list[Any]]]:
    zone, days = web_context().zone, list[tuple[datetime, list[Any]]]()
    for row in rows:
        if not days or days[-1][0].astimezone(zone).date() != row.at.astimezone(zone).date():
            days.append((row.at, []))
        days[-1][1].append(row)
    return days


def _read_query(values: Any) -> dict[str, str]:
    """Return what is asked for, without what makes no sense."""
    query = {name: " ".join(values.get(name, "").replace("\0", "").split())[:_MAX_FIELD_LENGTH] for name in _FIELDS}
    for name in ("from", "to"):
        if _parse_day(query[name]) is None:
            query[name] = ""
    if query["what"] not in audit_topics.TOPICS and not audit_topics.is_known_act(query["what"]):
        query["what"] = ""
    # No address belongs into a URL, and no subject holds one.
    return {name: text for name, text in query.items() if text and not may_hold_address(text)}


def _read_filter(query: dict[str, str]) -> AuditFilter:
    first, last = _parse_day(query.get("from", "")), _parse_day(query.get("to", ""))
    what = query.get("what", "")
    return AuditFilter(
        actor=query.get("who", ""),
        topic=what if what in audit_topics.TOPICS else "",
        act="" if what in audit_topics.TOPICS else what,
        subject=audit_topics.read_subject(query.get("about", "")),
        since=_midnight(first) if first else None,
        until=_midnight(last + timedelta(days=1)) if last else None,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), web_context().zone).astimezone(UTC)


def _parse_day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1970 < day.year < 9000 else None


def _read_place() -> AuditPlace | None:
    """Read where the page goes on: a moment and a row's number, as its link has them."""
    try:
        seq = int(request.args.get("row", "")[:18])
        at = datetime.fromisoformat(request.args.get("at", ""))
        return AuditPlace(at.astimezone(UTC), seq) if at.tzinfo and 1970 < at.year < 9000 else None
    except ValueError:
        return None
