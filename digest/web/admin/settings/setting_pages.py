"""Settings, for admins: a page a table, each change with who made it and what stood there before."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
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
from digest.settings import ScheduleSettings, SectionSettings, SettingsError
from digest.settings.file_edits import SettingsConflictError
from digest.settings.misspelt_names import find_table
from digest.settings.table_values import SettingsValueError
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.settings import setting_fields
from digest.web.admin.settings.setting_fields import NEW_SECTION, SectionRow
from digest.web.auth.access import current_actor, current_staff
from digest.web.colleagues import name_actor
from digest.web.context import web_context
from subscribers.errors import ApplicationError

REFRESH_SECONDS = 1  # between two looks of the page at a backup that is being made; it works without scripts
_TITLES = {name: table.model_config["title"] for name in EDITABLE_TABLES if (table := find_table((name,)))}


@admin_pages.get("/settings")
def list_settings() -> ResponseReturnValue:
    """Lead to the first table."""
    return redirect(url_for("admin.show_settings", table=EDITABLE_TABLES[0]), 303)


@admin_pages.get("/settings/<table>")
def show_settings(table: str) -> ResponseReturnValue:
    """Show a table of the settings in a form; again and again while a backup is being made."""
    context, backups = web_context(), None
    _require_table(table)
    if table == "backup":
        backups = context.backups.view(context.installation, current_actor(), now=context.clock())
    renews = backups is not None and backups.progress is not None
    saved, tested = request.args.get("saved") == "1", request.args.get("tested", "")
    answer = make_response(_settings_page(table, saved=saved, tested=tested, backups=backups, renews=renews))
    if renews:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


@admin_pages.post("/settings/<table>")
def change_settings(table: str) -> ResponseReturnValue:
    """Save a table, or show what a changed schedule would bring."""
    _require_table(table)
    form = request.form
    try:
        if table == "schedule" and form.get("act") == "preview":
            return _settings_page(table, form=form, pairs=_preview_schedule(form))
        changed = _save_sections(form) if table == "sections" else _save_table(table, form)
    except SettingsValueError as exc:
        return _settings_page(table, form=form, problems=exc.problems), 400
    except SettingsConflictError as exc:
        return _overtaken_page(table, form, exc), 409
    except SettingsError as exc:
        return _settings_page(table, form=form, refusal=exc), 409
    return _lead_to_saved(table, changed=changed)


def _preview_schedule(form: Mapping[str, str]) -> list[ReleasePair]:
    context = web_context()
    values = setting_fields.read_values(context.settings.file.schedule, form)
    return setting_changes.preview_schedule(context.installation, current_actor(), values, now=context.clock())


def _save_sections(form: Mapping[str, str]) -> bool:
    context, rows = web_context(), setting_fields.read_section_rows(form)
    return setting_changes.change_sections(
        context.installation, current_actor(), rows, fingerprint=form.get("fingerprint", ""), now=context.clock()
    )


def _save_table(table: str, form: Mapping[str, str]) -> bool:
    context = web_context()
    values = setting_fields.read_values(getattr(context.settings.file, table), form)
    return setting_changes.change_settings(
        *(context.installation, current_actor(), table, values),
        fingerprint=form.get("fingerprint", ""),
        now=context.clock(),
    )


def _overtaken_page(table: str, form: Mapping[str, str], refusal: SettingsError) -> str:
    """Show what was typed beside what somebody else saved meanwhile."""
    if table == "sections":  # typed values belong to places in a list that's a different one now
        return _settings_page(table, refusal=refusal)
    problems = setting_fields.describe_saved(getattr(web_context().settings.file, table), form)
    return _settings_page(table, form=form, problems=problems, refusal=refusal)


def _lead_to_saved(table: str, *, changed: bool) -> ResponseReturnValue:
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
    return _lead_to_saved("look", changed=changed)


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


def _require_table(table: str) -> None:
    if table not in EDITABLE_TABLES:
        abort(404, "These settings don't have a page. They're in digest.toml.")


def _settings_page(
    table: str,
    *,
    form: Mapping[str, str] | None = None,
    problems: Mapping[str, str] = MappingProxyType({}),
    refusal: ApplicationError | None = None,
    pairs: Sequence[ReleasePair] = (),
    saved: bool = False,
    tested: str = "",
    backups: BackupView | None = None,
    renews: bool = False,
) -> str:
    context, actor, now = web_context(), current_actor(), web_context().clock()
    view = setting_changes.view_settings(context.installation, actor, table, now=now)
    names = staff.read_display_names(context.installation)
    values: Any = view.values
    is_list = table == "sections"
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "backup": lambda: {"backups": backups or context.backups.view(context.installation, actor, now=now)},
        "look": lambda: {"logo": context.settings.logo},
        "schedule": lambda: {"pairs": pairs or ([] if problems else _current_pairs(values))},
        "sections": lambda: {"rows": _show_section_rows(values, form, problems)},
        "wordings": lambda: {"wordings": consent_wordings.view_wordings(context.installation, actor, now=now)},
    }
    return render_template(
        "web/admin/settings.html",
        view=view,
        titles=_TITLES,
        fields=[] if is_list else setting_fields.show_fields(values, form, problems),
        section_kinds=setting_fields.SECTION_KINDS,
        weekdays=setting_fields.WEEKDAYS,
        problems=problems,
        refusal=refusal,
        saved=saved,
        tested=alert_channels().get(tested),
        channels=list_open_channels(context.installation.settings) if table == "alerts" else [],
        renews=renews,
        is_preview=form is not None and bool(pairs),
        zone=context.zone,
        is_fresh=current_staff().is_fresh(now),
        has_passphrase=bool(context.settings.backup_passphrase_text),
        changes=[(change, name_actor(change.actor, names)) for change in view.changes],
        **_NO_PARTS | (parts[table]() if table in parts else {}),
    )


_NO_PARTS: dict[str, Any] = {"backups": None, "logo": None, "pairs": (), "rows": (), "wordings": None}


def _current_pairs(schedule: ScheduleSettings) -> list[ReleasePair]:
    """Return the next dates as they are; none where editions come by a period."""
    context = web_context()
    if schedule.release_rule.period:
        return []
    return setting_changes.preview_schedule(context.installation, current_actor(), {}, now=context.clock())


def _show_section_rows(
    sections: Sequence[SectionSettings], form: Mapping[str, str] | None, problems: Mapping[str, str]
) -> list[tuple[SectionRow, bool, dict[str, str]]]:
    """Return the sections as the form shows them, whether each is new, and its problems by field; the last is an empty new one.

    A problem names the place that a section would have, so it's found by that.
    """
    shown = [setting_fields.write_section_row(section, place) for place, section in enumerate(sections, 1)]
    shown.append(NEW_SECTION.model_copy(update={"place": str(len(shown) + 1)}))
    typed = [setting_fields.read_section_row(form or {}, number, row) for number, row in enumerate(shown)]
    order = [row["key"] for row in setting_fields.read_section_rows(form)] if form is not None else []
    return [
        (row, number == len(sections), _find_row_problems(order, row.key, problems)) for number, row in enumerate(typed)
    ]


def _find_row_problems(order: Sequence[str], key: str, problems: Mapping[str, str]) -> dict[str, str]:
    if key not in order:
        return {}
    start = f"{order.index(key)}."
    return {field.removeprefix(start): text for field, text in problems.items() if field.startswith(start)}
