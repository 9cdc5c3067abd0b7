"""One source, for admins: how it does, what it gave, its values, trying it and taking it out; new ones by address or OPML."""

from collections.abc import Mapping
from typing import Any

from flask import Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.editions.page_views import list_known_sources
from digest.app.sources import configured as sources
from digest.app.sources import source_overview
from digest.app.sources.configured import SourceRefusedError, TriedSource
from digest.app.sources.source_overview import SourceView, UnknownSourceNumberError
from digest.settings import SOURCE_SECTIONS, SettingsError
from digest.settings.file_edits import SettingsConflictError
from digest.settings.table_values import SettingsValueError
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor
from digest.web.context import web_context
from digest.web.status_rows import build_source_rows
from subscribers.errors import ApplicationError

_TEXTS = ("name", "publisher", "section", "weight", "images", "default_topic")
_MARKS = ("primary", "own")
_MAX_LENGTHS = {"name": 200, "publisher": 200, "default_topic": 100}


@admin_pages.get("/sources/<int:number>")
def show_source(number: int) -> ResponseReturnValue:
    """Show one source."""
    return _source_page(_view(number), saved=request.args.get("saved", ""))


@admin_pages.post("/sources/<int:number>")
def change_source(number: int) -> ResponseReturnValue:
    """Save what the settings say of a source."""
    context, view, form = web_context(), _view(number), request.form
    try:
        _require_file()
        sources.change_source(
            context.installation,
            current_actor(),
            view.row.url,
            _read_values(form),
            fingerprint=form.get("fingerprint", ""),
            now=context.clock(),
        )
    except SettingsValueError as exc:
        return _source_page(view, form=form, problems=exc.problems), 400
    except SettingsConflictError as exc:
        current = _view(number)
        saved = _describe_saved(current, form)
        return _source_page(current, form=form, problems=saved, refusal=exc), 409
    except (SettingsError, SourceRefusedError) as exc:
        return _source_page(view, form=form, refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="1"), 303)


@admin_pages.post("/sources/<int:number>/address")
def use_new_address(number: int) -> ResponseReturnValue:
    """Take over the address that a source has moved to."""
    context, view, form = web_context(), _view(number), request.form
    try:
        _require_file()
        sources.use_new_address(
            context.installation,
            current_actor(),
            view.row.url,
            form.get("address", ""),
            fingerprint=form.get("fingerprint", ""),
            now=context.clock(),
        )
    except (SettingsError, SourceRefusedError) as exc:
        return _source_page(_view(number), refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="address"), 303)


@admin_pages.post("/sources/<int:number>/test")
def try_source(number: int) -> ResponseReturnValue:
    """Visit a source now, and show what would come in; nothing is stored."""
    context, view = web_context(), _view(number)
    try:
        tried = sources.try_source(context.settings, view.row.moved_to or view.row.url, now=context.clock())
    except SourceRefusedError as exc:
        return _source_page(view, refusal=exc), 409
    return _source_page(view, tried=tried)


@admin_pages.get("/sources/<int:number>/remove")
def ask_before_removing_source(number: int) -> ResponseReturnValue:
    """Say what removing a source means, and ask."""
    view = _view(number)
    if view.configured is None:
        abort(404, "The settings do not name this source any more.")
    return render_template("web/admin/sources/source_removal.html", view=view, refusal=None)


@admin_pages.post("/sources/<int:number>/remove")
def remove_source(number: int) -> ResponseReturnValue:
    """Take a source out of the settings."""
    context, view = web_context(), _view(number)
    try:
        _require_file()
        sources.remove_source(context.installation, current_actor(), view.row.url, now=context.clock())
    except SourceRefusedError as exc:
        return render_template("web/admin/sources/source_removal.html", view=view, refusal=exc), 409
    return redirect(url_for("desk.sources", removed=number), 303)


@admin_pages.get("/sources/add")
def before_adding_source() -> ResponseReturnValue:
    """Ask for the address of a site or feed."""
    return _adding_page()


@admin_pages.post("/sources/look")
def look_for_feeds() -> ResponseReturnValue:
    """Look what is at an address, and show it before anything is added."""
    context, typed = web_context(), request.form.get("address", "").strip()
    try:
        address = sources.parse_web_address(typed)
        sources.refuse_listed_source(context.installation, address)
        tried = sources.try_source(context.settings, address, now=context.clock())
        sources.refuse_listed_source(context.installation, tried.url)
    except ValueError:
        return _adding_page(
            typed, refusal=SourceRefusedError(f"“{typed}” is no web address such as news.example.org.")
        ), 400
    except SourceRefusedError as exc:
        return _adding_page(typed, refusal=exc), 409
    return _adding_page(typed, tried=tried)


@admin_pages.post("/sources")
def add_source() -> ResponseReturnValue:
    """Add what was found."""
    context, form = web_context(), request.form
    values = _read_values(form) | {"url": form.get("url", "").strip()}
    try:
        _require_file()
        number = sources.add_described_source(context.installation, current_actor(), values, now=context.clock())
    except SettingsValueError as exc:
        return _adding_page(form.get("url", ""), form=form, problems=exc.problems), 400
    except (SettingsError, SourceRefusedError) as exc:
        return _adding_page(form.get("url", ""), form=form, refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="added"), 303)


@admin_pages.post("/sources/opml")
def import_opml() -> ResponseReturnValue:
    """Add the feeds of an OPML file."""
    context, upload = web_context(), request.files.get("file")
    section = request.form.get("section", "news")
    body = upload.read() if upload else b""
    try:
        _require_file()
        _require_upload(body, section)
        result = sources.import_opml_bytes(
            context.installation, current_actor(), body, "The file", section, now=context.clock()
        )
    except (SettingsError, SourceRefusedError) as exc:
        return _adding_page(refusal=exc), 409
    return _adding_page(imported=result)


@admin_pages.get("/sources.opml")
def export_opml() -> ResponseReturnValue:
    """Give the sources as OPML."""
    response = Response(sources.write_opml(web_context().installation), mimetype="text/x-opml")
    response.headers["Content-Disposition"] = 'attachment; filename="sources.opml"'
    return response


def _view(number: int) -> SourceView:
    context = web_context()
    try:
        return source_overview.view_source(context.installation, current_actor(), number, now=context.clock())
    except UnknownSourceNumberError as exc:
        abort(404, str(exc))


def _require_file() -> None:
    if web_context().settings.origin is None:
        raise SourceRefusedError(
            "This installation runs without a settings file, so nothing can be saved. Write one with 'digest init'."
        )


def _require_upload(body: bytes, section: str) -> None:
    if not body or section not in SOURCE_SECTIONS:
        raise SourceRefusedError("Choose a file in OPML first: feed readers export it.")


def _read_values(form: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: form.get(name, "").strip()[: _MAX_LENGTHS.get(name, 40)] for name in _TEXTS if name in form
    }
    if not values.get("name"):
        values["name"] = form.get("url", "")[: _MAX_LENGTHS["name"]] or "Without a name"
    values["publisher"] = values.get("publisher") or values["name"]
    return values | {name: form.get(name) == "1" for name in _MARKS}


def _describe_saved(view: SourceView, form: Mapping[str, str]) -> dict[str, str]:
    """Say of each field what is saved, where something else was typed: for a form that came after another one."""
    saved = view.configured.model_dump() if view.configured else {}
    typed = _read_values(form)
    differing = (name for name, value in typed.items() if name in saved and not _is_same(value, saved[name]))
    return {name: f"Saved meanwhile: {_write_value(saved[name])}" for name in differing}


def _is_same(typed: Any, saved: Any) -> bool:
    try:
        return bool(type(saved)(typed) == saved)  # "1.0" is 1
    except ValueError:
        return False


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "nothing"


def _source_page(
    view: SourceView,
    *,
    form: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    refusal: ApplicationError | None = None,
    tried: TriedSource | None = None,
    saved: str = "",
) -> str:
    context = web_context()
    [row] = build_source_rows([view.row], context.clock(), context.zone)
    values = view.configured.model_dump() if view.configured else {}
    return render_template(
        "web/admin/sources/source.html",
        view=view,
        row=row,
        values=values | (_read_values(form) if form is not None else {}),
        sections=SOURCE_SECTIONS,
        problems=problems or {},
        refusal=refusal,
        tried=tried,
        saved=saved,
    )


def _adding_page(
    address: str = "",
    *,
    form: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    refusal: ApplicationError | None = None,
    tried: TriedSource | None = None,
    imported: sources.OpmlImport | None = None,
) -> str:
    context = web_context()
    values: dict[str, Any] = {"section": "news", "weight": 1.0, "images": "none", "default_topic": ""}
    values |= {"primary": False, "own": False, "name": "", "publisher": "", "url": address}
    if tried:
        title = tried.document.title or tried.url
        values |= {"url": tried.url, "name": title, "publisher": title}
    if form is not None:
        values |= _read_values(form)
    return render_template(
        "web/admin/sources/add_source.html",
        address=address,
        values=values,
        sections=SOURCE_SECTIONS,
        topics=source_overview.list_topic_names(context.installation),
        can_write=context.settings.origin is not None,
        problems=problems or {},
        refusal=refusal,
        tried=tried,
        describing=tried is not None or form is not None,
        imported=imported,
        count=len(list_known_sources(context.installation)),
    )
