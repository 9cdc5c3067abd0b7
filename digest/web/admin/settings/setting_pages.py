"""Settings, for admins: a page a table, each change with who made it and what stood there before."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from flask import abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.alerts import alert_posts
from digest.app.alerts.alert_posts import AlertTestError
from digest.app.alerts.channels import alert_channels, list_open_channels
from digest.app.settings import logo_uploads, setting_changes
from digest.app.settings.logos import LogoRefusedError
from digest.app.settings.setting_changes import EDITABLE_TABLES, ReleasePair
from digest.app.subscribers import consent_wordings
from digest.app.upkeep.background_backups import BackupRunsError, BackupView
from digest.backups.archive import BackupError
from digest.settings import SettingsError
from digest.settings.file_edits import SettingsConflictError
from digest.settings.table_values import SettingsValueError
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.settings import setting_fields
from digest.web.auth.access import current_actor, current_staff
from digest.web.colleagues import name_actor
from digest.web.context import web_context
from subscribers.errors import ApplicationError

REFRESH_SECONDS = 1  # between two looks of the page at a backup that is being made; it works without scripts
_TITLES = {
    "alerts": "Alerts",
    "approval": "Approval",
    "backup": "Backups",
    "limits": "Limits",
    "look": "Look",
    "publication": "Publication",
    "schedule": "Schedule",
} | {"sections": "Sections", "sender": "Sender", "wordings": "Consent"}


@admin_pages.get("/settings")
def list_settings() -> ResponseReturnValue:
    """Lead to the first table."""
    return redirect(url_for("admin.show_settings", table=EDITABLE_TABLES[0]), 303)


@admin_pages.get("/settings/<table>")
def show_settings(table: str) -> ResponseReturnValue:
    """Show a table of the settings in a form; again and again while a backup is being made."""
    context, backups = web_context(), None
    if table == "backup":
        backups = context.backups.view(context.installation, current_actor(), now=context.clock())
    renews = backups is not None and backups.progress is not None
    page = _settings_page(
        _require_table(table),
        saved=request.args.get("saved") == "1",
        tested=request.args.get("tested", ""),
        backups=backups,
        renews=renews,
    )
    answer = make_response(page)
    if renews:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


@admin_pages.post("/settings/<table>")
def change_settings(table: str) -> ResponseReturnValue:
    """Save a table, or show what a changed schedule would bring."""
    context, actor, form = web_context(), current_actor(), request.form
    table, now = _require_table(table), web_context().clock()
    fingerprint = form.get("fingerprint", "")
    try:
        if table == "sections":
            rows = setting_fields.read_section_rows(form)
            changed = setting_changes.change_sections(
                context.installation, actor, rows, fingerprint=fingerprint, now=now
            )
        elif table == "schedule" and form.get("act") == "preview":
            values = setting_fields.read_values(table, form)
            pairs = setting_changes.preview_schedule(context.installation, actor, values, now=now)
            return _settings_page(table, form=form, pairs=pairs)
        else:
            values = setting_fields.read_values(table, form)
            changed = setting_changes.change_settings(
                context.installation, actor, table, values, fingerprint=fingerprint, now=now
            )
    except SettingsValueError as exc:
        return _settings_page(table, form=form, problems=exc.problems), 400
    except SettingsConflictError as exc:
        # The places of sections are those of a list that is another now: what was typed would stand at the wrong ones.
        kept = None if table == "sections" else form
        return _settings_page(table, form=kept, refusal=exc, shows_saved=kept is not None), 409
    except SettingsError as exc:
        return _settings_page(table, form=form, refusal=exc), 409
    return redirect(url_for("admin.show_settings", table=table, saved="1" if changed else None), 303)


@admin_pages.post("/settings/look/logos")
def replace_logos() -> ResponseReturnValue:
    """Keep the logos that were uploaded, and name them in the settings."""
    context, actor = web_context(), current_actor()
    files = {name: request.files.get(name) for name in ("logo", "logo_dark")}
    uploads = {name: (file.filename, file.read()) for name, file in files.items() if file and file.filename}
    fingerprint = request.form.get("fingerprint", "")
    try:
        changed = logo_uploads.replace_logos(
            context.installation, actor, uploads, fingerprint=fingerprint, now=context.clock()
        )
    except LogoRefusedError as exc:
        return _settings_page("look", refusal=exc), 400
    except SettingsError as exc:
        return _settings_page("look", refusal=exc), 409
    return redirect(url_for("admin.show_settings", table="look", saved="1" if changed else None), 303)


@admin_pages.post("/settings/alerts/test")
def send_alert_test() -> ResponseReturnValue:
    """Send a test over a channel that is saved, and say what came of it."""
    context = web_context()
    try:
        channel = request.form.get("channel", "")
        alert_posts.send_test(context.installation, current_actor(), channel, now=context.clock())
    except AlertTestError as exc:
        return _settings_page("alerts", refusal=exc), 409
    return redirect(url_for("admin.show_settings", table="alerts", tested=channel), 303)


@admin_pages.post("/settings/backup/now")
def back_up_now() -> ResponseReturnValue:
    """Begin a backup; lead to the page that shows how far it is."""
    context = web_context()
    try:
        with suppress(BackupRunsError):  # the page shows the one that runs
            passphrase = request.form.get("passphrase", "")
            context.backups.begin(context.installation, current_actor(), passphrase=passphrase, now=context.clock())
    except BackupError as exc:
        return _settings_page("backup", refusal=exc), 409
    return redirect(url_for("admin.show_settings", table="backup"), 303)


def _require_table(table: str) -> str:
    if table not in EDITABLE_TABLES:
        abort(404, "These settings have no page of their own: they stand in digest.toml.")
    return table


def _settings_page(
    table: str,
    *,
    form: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    shows_saved: bool = False,
    refusal: ApplicationError | None = None,
    pairs: Sequence[ReleasePair] = (),
    saved: bool = False,
    tested: str = "",
    backups: BackupView | None = None,
    renews: bool = False,
) -> str:
    context, actor, now = web_context(), current_actor(), web_context().clock()
    view = setting_changes.view_settings(context.installation, actor, table, now=now)
    if table == "backup" and backups is None:
        backups = context.backups.view(context.installation, actor, now=now)
    if shows_saved and form is not None:
        problems = setting_fields.describe_saved(table, view.values, form)
    names = staff.read_display_names(context.installation)
    if table == "schedule" and not pairs and not problems and not view.values.release_rule.period:  # type: ignore[union-attr]
        pairs = setting_changes.preview_schedule(context.installation, actor, {}, now=now)
    return render_template(
        "web/admin/settings.html",
        view=view,
        titles=[(name, _TITLES[name]) for name in EDITABLE_TABLES],
        title=_TITLES[table],
        fields=[] if table == "sections" else setting_fields.show_fields(table, view.values, form, problems or {}),
        rows=_show_section_rows(view.values, form, problems or {}) if table == "sections" else [],
        section_kinds=setting_fields.SECTION_KINDS,
        weekdays=setting_fields.WEEKDAYS,
        problems=problems or {},
        refusal=refusal,
        saved=saved,
        tested=alert_channels().get(tested),
        backups=backups,
        channels=list_open_channels(context.installation.settings) if table == "alerts" else [],
        renews=renews,
        is_preview=form is not None and bool(pairs),
        pairs=pairs,
        zone=context.zone,
        is_fresh=current_staff().is_fresh(now),
        has_passphrase=bool(context.installation.settings.backup_passphrase_text),
        logo=context.installation.settings.logo if table == "look" else None,
        wordings=consent_wordings.view_wordings(context.installation, actor, now=now) if table == "wordings" else None,
        changes=[(change, name_actor(change.actor, names)) for change in view.changes],
    )


def _show_section_rows(
    values: Any, form: Mapping[str, str] | None, problems: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the sections as the form shows them, with an empty one at the end to add another.

    A problem names the place that a section would have, so it is found by that.
    """
    order = [row["key"] for row in setting_fields.read_section_rows(form)] if form is not None else []
    empty = {"key": "", "title": "", "kind": "stories", "note": "", "most": 5, "topics": [], "refill": "next"}
    rows = [section.model_dump() | {"is_new": False} for section in values] + [empty | {"is_new": True}]
    for number, row in enumerate(rows):
        row |= {"place": number + 1, "out": False, "topics": ", ".join(row["topics"])}
        if form is not None:
            row |= {name: form[f"{number}.{name}"] for name in row if f"{number}.{name}" in form}
        at = f"{order.index(row['key'])}." if row["key"] in order else "none."
        row["problems"] = [(field.removeprefix(at), text) for field, text in problems.items() if field.startswith(at)]
    return rows
