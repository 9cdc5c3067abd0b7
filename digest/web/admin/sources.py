"""Source pages for admins: status, articles, settings, testing, and removal.

New sources are added by URL or from OPML.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator

from digest.app.sources import configured_sources as sources
from digest.app.sources import source_overview
from digest.app.sources.configured_sources import ProbedSource, SourceRefusedError
from digest.app.sources.source_overview import SourceView, UnknownSourceNumberError
from digest.collect.documents.parsed_document import FeedLink
from digest.settings import SOURCE_SECTIONS, SettingsError, SourceSettings
from digest.settings.file_edits import SettingsConflictError
from digest.settings.table_values import SettingsValueError
from digest.web.admin.blueprint import admin_pages, get_installation_actor_and_time, make_download_response
from digest.web.app_state import get_app_state
from digest.web.forms import FormOrQueryModel, read_form, read_query
from digest.web.status_rows import build_source_rows
from subscribers.errors import ApplicationError

_MAX_TEXT_LENGTH = 200  # characters
_NEW_SOURCE = {name: field.default for name, field in SourceSettings.model_fields.items() if not field.is_required()}

ShortText = Annotated[str, AfterValidator(lambda text: text[:_MAX_TEXT_LENGTH])]


class SourceForm(FormOrQueryModel):
    """The form with a source's settings.

    `fingerprint` identifies the version that was shown.
    """

    url: str = ""
    fingerprint: str = ""
    name: ShortText = ""
    publisher: ShortText = ""
    section: ShortText = ""
    weight: ShortText = ""
    images: ShortText = ""
    default_topic: ShortText = ""
    license: ShortText = ""
    primary: bool = False
    own: bool = False
    paused: bool = False

    def values(self) -> dict[str, Any]:
        """Return the values, without validating them.

        Text fields missing from the form are omitted.
        """
        name = self.name or self.url[:_MAX_TEXT_LENGTH] or "Untitled"
        values_given = self.model_dump(exclude_unset=True, exclude={"url", "fingerprint"})
        marks = {"primary": self.primary, "own": self.own, "paused": self.paused}
        return values_given | marks | {"name": name, "publisher": self.publisher or name}


class SourceUrlForm(FormOrQueryModel):
    """The URL of a site or feed, and the fingerprint of the preview."""

    address: str = ""
    fingerprint: str = ""


@admin_pages.get("/sources/<int:number>")
def show_source(number: int) -> ResponseReturnValue:
    """Show a source."""
    return _source_page(_view(number))


@admin_pages.post("/sources/<int:number>")
def submit_source_changes(number: int) -> ResponseReturnValue:
    """Save a source's settings."""
    installation, actor, now = get_installation_actor_and_time()
    view, form = _view(number), read_query(SourceForm, request.form)
    url, fingerprint, values = view.row.url, form.fingerprint, form.values()
    try:
        _require_file()
        if form.url.strip() not in ("", url):
            probed_source = _probe_url(form.url)
            if probed_source.feeds:
                return _source_page(view, form=form, feeds=probed_source.feeds), 409
            values |= {"url": probed_source.url}
        sources.change_source(installation, actor, url, values, fingerprint=fingerprint, now=now)
    except SettingsValueError as exc:
        return _source_page(view, form=form, problems=exc.problems), 400
    except SettingsConflictError as exc:
        current = _view(number)
        problems = _describe_saved(current, form)
        form = form.model_copy(update={"fingerprint": current.fingerprint})  # if it's saved again, it's overwritten
        return _source_page(current, form=form, problems=problems, refusal=exc), 409
    except (SettingsError, SourceRefusedError) as exc:
        return _source_page(view, form=form, refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="1"), 303)


@admin_pages.get("/sources/<int:number>/address")
def confirm_moved_source(number: int) -> ResponseReturnValue:
    """Show the current and the new URL of a source."""
    view = _view(number)
    if view.configured is None or not view.row.moved_to:
        return redirect(url_for("admin.show_source", number=number), 303)
    return render_template("web/admin/sources/moved_source.html", view=view)


@admin_pages.post("/sources/<int:number>/address")
def follow_moved_source(number: int) -> ResponseReturnValue:
    """Change the URL of a source to the one it has moved to."""
    installation, actor, now = get_installation_actor_and_time()
    view, form = _view(number), read_form(SourceUrlForm)
    try:
        _require_file()
        url, fingerprint = view.row.url, form.fingerprint
        sources.follow_moved_source(installation, actor, url, form.address, fingerprint=fingerprint, now=now)
    except (SettingsError, SourceRefusedError) as exc:
        return _source_page(_view(number), refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="address"), 303)


@admin_pages.post("/sources/<int:number>/address/undo")
def undo_source_move(number: int) -> ResponseReturnValue:
    """Restore the earlier URL of a source."""
    installation, actor, now = get_installation_actor_and_time()
    fingerprint = read_query(SourceUrlForm, request.form).fingerprint
    try:
        _require_file()
        sources.undo_url_change(installation, actor, number, fingerprint=fingerprint, now=now)
    except (SettingsError, SourceRefusedError) as exc:
        return _source_page(_view(number), refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="earlier-address"), 303)


@admin_pages.post("/sources/<int:number>/test")
def probe_source(number: int) -> ResponseReturnValue:
    """Fetch a source now, from the URL in the form, and show its articles.

    Nothing is stored, and the form's input is kept. If the URL is unchanged and the source has
    moved, its new URL is fetched.
    """
    view = _view(number)
    form = read_query(SourceForm, request.form) if "url" in request.form else None
    typed = form.url.strip() if form else view.row.url
    try:
        probed_source = _probe_url((view.row.moved_to or typed) if typed == view.row.url else typed)
    except SourceRefusedError as exc:
        return _source_page(view, form=form, refusal=exc), 409
    return _source_page(view, form=form, probed_source=probed_source)


@admin_pages.get("/sources/<int:number>/remove")
def confirm_source_removal(number: int) -> ResponseReturnValue:
    """Describe the removal of a source, and ask for confirmation."""
    view = _view(number)
    if view.configured is None:
        abort(404, "This source is no longer in the settings.")
    return render_template("web/admin/sources/source_removal.html", view=view, refusal=None)


@admin_pages.post("/sources/<int:number>/remove")
def submit_source_removal(number: int) -> ResponseReturnValue:
    """Remove a source from the settings."""
    installation, actor, now = get_installation_actor_and_time()
    view = _view(number)
    try:
        _require_file()
        sources.remove_source(installation, actor, view.row.url, now=now)
    except SourceRefusedError as exc:
        return render_template("web/admin/sources/source_removal.html", view=view, refusal=exc), 409
    return redirect(url_for("desk.show_sources", removed=number), 303)


@admin_pages.get("/sources/add")
def show_add_source_form() -> ResponseReturnValue:
    """Ask for the URL of a site or feed."""
    return _adding_page()


@admin_pages.post("/sources/look")
def preview_new_source() -> ResponseReturnValue:
    """Fetch a URL and show what it contains, before anything is added."""
    installation, _, now = get_installation_actor_and_time()
    typed = read_form(SourceUrlForm).address
    try:
        address = sources.complete_typed_url(typed)
    except ValueError:
        return _adding_page(typed, refusal=_refuse_text(typed)), 400
    try:
        probed_source = sources.probe_new_source(installation, address, now=now)
    except SourceRefusedError as exc:
        return _adding_page(typed, refusal=exc), 409
    return _adding_page(typed, probed_source=probed_source)


@admin_pages.post("/sources")
def submit_new_source() -> ResponseReturnValue:
    """Add a source with the form's settings."""
    installation, actor, now = get_installation_actor_and_time()
    form = read_query(SourceForm, request.form)
    values = form.values() | {"url": form.url}
    try:
        _require_file()
        number = sources.add_source_with_details(installation, actor, values, now=now)
    except SettingsValueError as exc:
        return _adding_page(form.url, form=form, problems=exc.problems), 400
    except (SettingsError, SourceRefusedError) as exc:
        return _adding_page(form.url, form=form, refusal=exc), 409
    return redirect(url_for("admin.show_source", number=number, saved="added"), 303)


@admin_pages.post("/sources/opml")
def upload_opml() -> ResponseReturnValue:
    """Add the feeds in an uploaded OPML file."""
    installation, actor, now = get_installation_actor_and_time()
    try:
        _require_file()
        body, section = _read_opml()
        result = sources.import_uploaded_opml(installation, actor, body, "The file", section, now=now)
    except (SettingsError, SourceRefusedError) as exc:
        return _adding_page(refusal=exc), 409
    return _adding_page(imported=result)


def _read_opml() -> tuple[bytes, str]:
    upload, section = request.files.get("file"), request.form.get("section", "news")
    body = upload.read() if upload else b""
    if not body or section not in SOURCE_SECTIONS:
        raise SourceRefusedError("No file was chosen. Choose an OPML file exported from a feed reader.")
    return body, section


@admin_pages.get("/sources.opml")
def download_opml() -> ResponseReturnValue:
    """Return the sources as OPML."""
    return make_download_response(sources.build_opml(get_app_state().installation), "text/x-opml", "sources.opml")


def _probe_url(typed: str) -> ProbedSource:
    try:
        address = sources.complete_typed_url(typed.strip())
    except ValueError:
        raise _refuse_text(typed) from None
    return sources.probe_source(get_app_state().settings, address, now=get_app_state().clock())


def _refuse_text(typed: str) -> SourceRefusedError:
    return SourceRefusedError(f"“{typed}” isn't a URL. Enter one such as news.example.org.")


def _view(number: int) -> SourceView:
    installation, actor, now = get_installation_actor_and_time()
    try:
        return source_overview.view_source(installation, actor, number, now=now)
    except UnknownSourceNumberError as exc:
        abort(404, str(exc))


def _require_file() -> None:
    if get_app_state().settings.origin is None:
        raise SourceRefusedError(
            "You can't save settings because there's no settings file. Create one with 'digest init'."
        )


def _describe_saved(view: SourceView, form: SourceForm) -> dict[str, str]:
    """Describe the saved value of each field whose input differs, by field name.

    This is shown if someone else has saved the source in the meantime.
    """
    saved, typed = _saved_values(view), form.values()
    differing = [name for name in saved.keys() & typed.keys() if not _is_same(typed[name], saved[name])]
    return {name: f"Saved value: {_write_value(saved[name])}" for name in differing}


def _saved_values(view: SourceView) -> dict[str, Any]:
    return view.configured.model_dump() if view.configured else {}


def _is_same(typed: Any, saved: Any) -> bool:
    try:
        return bool(type(saved)(typed) == saved)  # "1.0" is the same as 1
    except ValueError:
        return False


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "nothing"


def _source_page(
    view: SourceView,
    *,
    form: SourceForm | None = None,
    problems: Mapping[str, str] = MappingProxyType({}),
    refusal: ApplicationError | None = None,
    probed_source: ProbedSource | None = None,
    feeds: Sequence[FeedLink] = (),
) -> str:
    now = get_app_state().clock()
    typed = form.values() | {"url": form.url or view.row.url} if form else {}
    [row] = build_source_rows([view.row], now)
    return render_template(
        "web/admin/sources/source.html",
        view=view,
        row=row,
        now=now,
        values=_saved_values(view) | typed,
        fingerprint=form.fingerprint if form else view.fingerprint,
        feeds=feeds,
        sections=SOURCE_SECTIONS,
        problems=problems,
        refusal=refusal,
        is_unsaved=form is not None,
        tried=probed_source,
        saved=request.args.get("saved", ""),
    )


def _adding_page(
    address: str = "",
    *,
    form: SourceForm | None = None,
    problems: Mapping[str, str] = MappingProxyType({}),
    refusal: ApplicationError | None = None,
    probed_source: ProbedSource | None = None,
    imported: sources.OpmlImport | None = None,
) -> str:
    installation = get_app_state().installation
    source_form = SourceForm(url=address)
    if probed_source:
        source_form = SourceForm(url=probed_source.url, name=probed_source.document.title)
    values = (form or source_form).values()
    if probed_source and len(probed_source.feeds) > 1:
        values |= {"name": "", "publisher": ""}  # those of the first feed may not be right for the chosen one
    return render_template(
        "web/admin/sources/add_source.html",
        address=address,
        values=_NEW_SOURCE | {"url": source_form.url} | values,
        sections=SOURCE_SECTIONS,
        topics=installation.settings.file.select.topic_names,
        lock=source_overview.explain_source_lock(installation.settings),
        problems=problems,
        refusal=refusal,
        tried=probed_source,
        now=get_app_state().clock(),
        describing=probed_source is not None or form is not None,
        imported=imported,
    )
