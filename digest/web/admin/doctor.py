"""What the doctor finds, for admins: looked at when somebody asks, in the background, with how far it is."""

from contextlib import suppress

from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.doctor.examination import list_checks
from digest.app.doctor.health_reports import ExaminationRunsError, ExaminationStage
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor
from digest.web.context import web_context

REFRESH_SECONDS = 1  # between two looks of the page at an examination that runs; it works without scripts


@admin_pages.get("/health")
def show_health() -> ResponseReturnValue:
    """Show what the last examination found, and how far one is that runs."""
    report = web_context().health.latest
    stage = report.stage if report else None  # before what it found is read: one that ends meanwhile is shown anew
    findings = report.sorted_findings() if report else []
    page = render_template(
        "web/admin/doctor/health.html",
        report=report,
        stage=stage,
        groups=[(level, [f for f in findings if f.level == level]) for level in ("error", "warning", "ok")],
        checks=list_checks(),
    )
    answer = make_response(page)
    if stage is ExaminationStage.RUNNING:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


@admin_pages.post("/health")
def begin_examination() -> ResponseReturnValue:
    """Begin an examination, which asks outside where that was chosen; lead to the page that shows it."""
    context = web_context()
    is_online = request.form.get("online") == "yes"
    with suppress(ExaminationRunsError):  # the page shows the one that runs
        context.health.begin(context.installation, current_actor(), is_online=is_online, now=context.clock())
    return redirect(url_for("admin.show_health"), 303)
