"""All admin pages with their routes, and the navigation between them."""

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from digest.web.admin import accounts, sending, sources, upkeep
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.settings import setting_pages
from digest.web.admin.subscribers import import_pages, list_pages, record_pages, subscriber_pages, suppression_pages

# The areas of the admin pages, in order: the key used in templates, the title, and the first page.
ADMIN_PLACES = (
    ("readers", "Subscribers", "admin.list_subscribers"),
    ("import", "Import", "admin.list_imports"),
    ("deliveries", "Deliveries", "admin.list_deliveries"),
    ("growth", "Growth", "admin.show_growth"),
    ("staff", "Team", "admin.list_staff"),
    ("audit", "Audit log", "admin.show_audit_log"),
    ("health", "Health", "admin.show_health_report"),
    ("settings", "Settings", "admin.redirect_to_first_table"),
)


@admin_pages.get("/")
def redirect_to_first_page() -> ResponseReturnValue:
    """Redirect to the first area of the admin pages."""
    _, _, endpoint = ADMIN_PLACES[0]
    return redirect(url_for(endpoint))


@admin_pages.app_context_processor
def provide_admin_navigation() -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Provide the admin areas to the page layout."""
    return {"admin_places": ADMIN_PLACES}


__all__ = [
    "accounts",
    "admin_pages",
    "import_pages",
    "list_pages",
    "record_pages",
    "sending",
    "setting_pages",
    "sources",
    "subscriber_pages",
    "suppression_pages",
    "upkeep",
]
