"""The application factory. It creates the Flask application that serves all pages of an open installation."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, g, render_template, request
from flask.templating import Environment as PageEnvironment
from flask_wtf.csrf import CSRFError, CSRFProtect
from jinja2 import BaseLoader, StrictUndefined
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from digest.app.approval.approval_overviews import must_others_approve
from digest.app.calendar.upcoming_steps import find_next_collection
from digest.app.editions.edition_views import is_automatic_sending_off
from digest.app.sending.send_control import is_all_sending_paused
from digest.app.site.page_context import build_page_context
from digest.installation.audited_actions import ConfirmationRequiredError
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.settings.mail_frequency import MailFrequency
from digest.templating import (
    OperatorTemplates,
    TemplateCodeCache,
    TemplateMistakeError,
    create_jinja_environment,
    install_language,
)
from digest.web import filters
from digest.web.admin.pages import admin_pages
from digest.web.admin.undo_words import check_undo_words, find_undo_words
from digest.web.app_state import SCRIPT_FILES, STYLE_SHEET_FILES, PublicFiles, WebAppState, get_app_state
from digest.web.archive.pages import archive_pages, make_safe_html_with_local_images, mark_words
from digest.web.auth.access import (
    STAFF_BLUEPRINTS,
    check_access,
    current_actor,
    find_current_staff,
    keep_staff_pages_private,
    provide_current_staff,
    redirect_to_confirm_identity,
)
from digest.web.auth.blueprint import auth_pages
from digest.web.auth.cookies import CookieScope
from digest.web.auth.route_rules import ROUTE_RULES, check_route_rules
from digest.web.desk.approval.approval_pages import approval_pages
from digest.web.desk.calendar.calendar_pages import calendar_pages
from digest.web.desk.editing.correction_pages import correction_pages
from digest.web.desk.editing.editing_pages import editing_pages, live_pages
from digest.web.desk.editing.history_pages import history_pages
from digest.web.desk.editing.pages import desk_pages
from digest.web.desk.editing.writing_pages import story_pages
from digest.web.desk.edition.preview_pages import gallery_pages, preview_pages
from digest.web.desk.sending.breaking_news_pages import breaking_news_pages
from digest.web.desk.sending.sending_pages import sending_pages
from digest.web.health import health_pages
from digest.web.hooks.pages import webhook_pages
from digest.web.security import RedactingFlask, add_default_headers, log_response
from subscribers.loggers import get_logger
from subscribers.pages import contact, my_data, preferences, unsubscribe  # noqa: F401 - they add their routes
from subscribers.pages.context import ERROR_TEXTS, HONEYPOT_FIELD, OTHER_ERROR_ADVICE, page_context, subscriber_pages
from subscribers.pages.signup import signup_pages

# A review page may stay open for a working day.
CSRF_SECONDS = 12 * 3600
MAX_FORM_BYTES = 64 * 1024
_page_code_cache = TemplateCodeCache()
log = get_logger("digest.web")


def now_utc() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def create_app(installation: Installation, *, clock: Callable[[], datetime] = now_utc) -> Flask:
    """Create the Flask application for an open installation.

    Raises:
        InstallationError: the installation has no keys.
        ValueError: a route has no access rule.
    """
    settings = installation.settings
    app = RedactingFlask("digest.web", static_folder=None)
    # This ignores FLASK_DEBUG, because tracebacks must not be public. Setting `app.debug` would
    # create the Jinja environment before it's configured.
    app.config["DEBUG"] = False
    _configure_app(app, installation)
    loader = create_jinja_environment(settings.templates).loader
    assert loader is not None, "create_jinja_environment() always sets one"
    styles, scripts = _load_styles(loader, settings), PublicFiles.load(loader, SCRIPT_FILES)
    app.extensions["digest"] = WebAppState(installation, clock, styles, scripts)
    _set_up_templates(app, settings, scripts)
    follow_settings = _make_settings_follower(app, installation, clock)
    follow_settings()
    if settings.metrics_token:  # otherwise, no one could read them
        app.before_request(_note_start)
        app.after_request(_observe_duration)
    app.before_request(follow_settings)
    app.before_request(check_access)
    csrf = CSRFProtect(app)
    for blueprint in (
        *(admin_pages, approval_pages, archive_pages, auth_pages, calendar_pages, correction_pages),
        *(desk_pages, editing_pages, gallery_pages, health_pages, history_pages, live_pages, preview_pages),
        *(breaking_news_pages, sending_pages, story_pages),
    ):
        app.register_blueprint(blueprint)
    # These pages have no cookies that could be abused (see subscribers.pages.context and .signup).
    # Webhooks are signed.
    for blueprint in (subscriber_pages, signup_pages, webhook_pages):
        app.register_blueprint(blueprint)
        csrf.exempt(blueprint)
    check_route_rules(rule.endpoint for rule in app.url_map.iter_rules())
    check_undo_words(app.url_map.iter_rules())
    app.register_error_handler(HTTPException, _error_page)
    app.register_error_handler(TemplateMistakeError, _template_mistake_page)
    app.register_error_handler(ConfirmationRequiredError, redirect_to_confirm_identity)
    app.after_request(add_default_headers)
    # These run in reverse order, so the headers of staff pages are set first.
    app.after_request(keep_staff_pages_private)
    app.after_request(log_response)
    prefix = urlsplit(settings.link_base).path.rstrip("/")
    if prefix:
        app.wsgi_app = _PathPrefixMiddleware(app.wsgi_app, prefix)  # type: ignore[method-assign]  # as Flask's docs wrap it
    return app


def _note_start() -> None:
    g.started = time.perf_counter()


def _observe_duration(response: Response) -> Response:
    seconds = time.perf_counter() - g.started
    get_app_state().metrics.observe_request(request.blueprint or "none", response.status_code, seconds)
    return response


def _load_styles(loader: BaseLoader, settings: Settings) -> PublicFiles:
    apply_branding = partial(filters.apply_branding, branding=settings.file.branding)
    return PublicFiles.load(loader, STYLE_SHEET_FILES, {"reader": apply_branding})


def _configure_app(app: Flask, installation: Installation) -> None:
    cookies = CookieScope.from_settings(installation.settings)
    app.config.update(
        SECRET_KEY=installation.keys.current("session").secret,
        # Flask's session only contains the form token. The sessions of signed-in users are rows
        # (digest.app.accounts).
        SESSION_COOKIE_NAME=cookies.form,
        SESSION_COOKIE_PATH=cookies.path,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=cookies.secure,
        WTF_CSRF_TIME_LIMIT=CSRF_SECONDS,
        MAX_CONTENT_LENGTH=MAX_FORM_BYTES,
        TRAP_HTTP_EXCEPTIONS=False,
    )


def _make_settings_follower(
    app: Flask, installation: Installation, clock: Callable[[], datetime]
) -> Callable[[], None]:
    """Return a function that rebuilds the context of the subscriber pages if the settings have changed."""
    built_from: Settings | None = None

    def follow_settings() -> None:
        nonlocal built_from
        settings = installation.settings
        if settings is not built_from:
            app.extensions["subscribers"] = build_page_context(installation, clock)
            app.extensions["subscriber_language"] = settings.subscriber_language
            app.jinja_env.globals["site"] = app.extensions["subscribers"].site
            app.jinja_env.globals["signup"] = MailFrequency(
                app.extensions["subscribers"].release_days, settings.subscriber_language
            )
            if built_from is not None and settings.file.branding != built_from.file.branding:
                _change_styles(app, settings)
            built_from = settings

    return follow_settings


def _change_styles(app: Flask, settings: Settings) -> None:
    """Reload the style sheets after a branding change.

    Open pages can still load the earlier ones.
    """
    app_state: WebAppState = app.extensions["digest"]
    loader = create_jinja_environment(settings.templates).loader
    assert loader is not None, "create_jinja_environment() always sets one"
    styles = _load_styles(loader, settings)
    older = dict(app_state.styles.text_by_name)
    app.extensions["digest"] = replace(
        app_state, styles=replace(styles, text_by_name=older | dict(styles.text_by_name))
    )


class _OwnPageTemplates(OperatorTemplates, PageEnvironment):
    """Flask's template environment, in which custom templates replace built-in ones."""


def _publication_mark() -> Markup:
    settings = get_app_state().settings
    return filters.build_publication_mark(
        settings.file.publication.name, settings.logo, f"{request.script_root}/media/"
    )


def _header_image() -> Markup:
    return filters.build_header_image(get_app_state().settings.header, f"{request.script_root}/media/")


def _localize(moment: datetime) -> datetime:
    """Return a moment in the publication's time zone as of when the page is rendered."""
    return moment.astimezone(page_context.site.zone)


def _write_relative_to_now(write: Callable[[datetime, datetime], str], moment: datetime) -> str:
    return write(_localize(moment), _localize(page_context.clock()))


def _in_zone(write: Callable[[datetime], str]) -> Callable[[datetime], str]:
    return lambda moment: write(_localize(moment))


def _set_up_templates(app: Flask, settings: Settings, scripts: PublicFiles) -> None:
    """Configure Flask's template environment as strictly as the others."""
    app.jinja_options = {
        "bytecode_cache": _page_code_cache,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    if settings.templates:
        app.jinja_environment = _OwnPageTemplates
    app.jinja_loader = create_jinja_environment(settings.templates).loader
    env = app.jinja_env
    install_language(env, lambda: app.extensions["subscriber_language"])
    filters.install_subscriber_filters(
        env, lambda: app.extensions["subscriber_language"], lambda: page_context.site.zone
    )
    env.filters |= {name: _in_zone(write) for name, write in filters.MOMENT_FILTERS.items()}
    for write in (filters.short_moment, filters.recent_moment):
        env.filters[write.__name__] = partial(_write_relative_to_now, write)
    env.filters |= {plain_filter.__name__: plain_filter for plain_filter in filters.PLAIN_FILTERS}
    env.filters["mark_words"] = mark_words
    env.filters["local_images"] = make_safe_html_with_local_images
    env.globals["honeypot"] = HONEYPOT_FIELD
    env.globals["undo_words"] = find_undo_words
    env.globals["is_all_sending_paused"] = lambda *, for_team=False: is_all_sending_paused(
        get_app_state().installation, for_team=for_team
    )
    env.globals["must_others_approve"] = lambda: must_others_approve(
        get_app_state().installation, current_actor().name, now=get_app_state().clock()
    )
    env.globals["is_automatic_sending_off"] = lambda: is_automatic_sending_off(
        get_app_state().installation, now=get_app_state().clock()
    )
    env.globals["next_collection_at"] = lambda: find_next_collection(
        get_app_state().settings.file, get_app_state().clock()
    )
    env.globals["base_url"] = settings.link_base  # without a trailing slash
    app.context_processor(provide_current_staff)
    env.globals["style"] = lambda sheet: f"{request.script_root}/style/{get_app_state().styles.public_names[sheet]}"
    env.globals["publication_mark"] = _publication_mark
    env.globals["header_image"] = _header_image
    env.globals["script"] = lambda name: f"{request.script_root}/script/{scripts.public_names[name]}"


_EXPIRED_FORM_TEXT = (
    "This page has expired",
    "It was opened more than 12 hours ago or in another browser, so your changes weren't saved. Reload the page and try again.",
)


def _error_page(error: HTTPException) -> Response:
    """Render an error page that explains what happened and what to do, for subscribers or for the desk."""
    status, at_desk = error.code or 500, _is_at_desk()
    title, advice = _describe_error(error, status, at_desk=at_desk)
    response = _error_response(status, title, advice, at_desk=at_desk)
    allowed = dict(error.get_headers(request.environ)).get("Allow")
    if allowed:  # RFC 9110, section 15.5.6
        response.headers["Allow"] = allowed
    return response


def _is_at_desk() -> bool:
    return request.blueprint in STAFF_BLUEPRINTS and find_current_staff() is not None


def _describe_error(error: HTTPException, status: int, *, at_desk: bool) -> tuple[str, str]:
    """Return the title and advice of an error page.

    Staff members get more details than subscribers.
    """
    if isinstance(error, CSRFError):
        return _EXPIRED_FORM_TEXT
    title, advice = ERROR_TEXTS.get(status, (error.name, OTHER_ERROR_ADVICE))
    if at_desk and status == 404:
        return title, error.description or advice
    limit = ROUTE_RULES[request.endpoint].max_bytes if status == 413 and request.endpoint else None
    return _describe_long_file(limit) if at_desk and limit else (title, advice)


def _describe_long_file(limit: int) -> tuple[str, str]:
    return (
        "The file is too large",
        f"The limit is {limit // 1_000_000} MB, so the form wasn't saved. Go back to find your text, and choose a smaller file.",
    )


def _template_mistake_page(error: TemplateMistakeError) -> Response:
    """Report a mistake in a custom template to the staff and in the log, with its file and line.

    Subscribers only read that something went wrong.
    """
    log.error("a custom template has an error", mistake=str(error))
    at_desk = _is_at_desk()
    title, advice = ("A custom template has an error", str(error)) if at_desk else ERROR_TEXTS[500]
    return _error_response(500, title, advice, at_desk=at_desk)


def _error_response(status: int, title: str, advice: str, *, at_desk: bool) -> Response:
    if request.blueprint not in STAFF_BLUEPRINTS:
        title, advice = page_context.language.translate_text(title), page_context.language.translate_text(advice)
    try:
        page = render_template(f"web/{_error_template(at_desk=at_desk)}", title=title, what=advice)
    except TemplateMistakeError:  # the mistake is in the error page or its layout
        return Response(f"{title}\n\n{advice}\n", status, mimetype="text/plain")
    return Response(page, status, mimetype="text/html")


def _error_template(*, at_desk: bool) -> str:
    if at_desk:
        return "desk/error.html"
    return "auth/error.html" if request.blueprint in STAFF_BLUEPRINTS else "error.html"


class _PathPrefixMiddleware:
    """Middleware that serves the pages below the base URL's path, whether or not the proxy strips that path."""

    def __init__(self, app: WSGIApplication, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        environ["SCRIPT_NAME"] = self._prefix
        if path.startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :]
        return self._app(environ, start_response)
