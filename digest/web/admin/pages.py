"""The pages for admins, with all their routes, and the row of links that leads to them."""

from digest.web.admin import accounts as staff_pages
from digest.web.admin import doctor as health_pages
from digest.web.admin import sending as delivery_pages
from digest.web.admin import site as processing_pages
from digest.web.admin import sources as source_pages
from digest.web.admin import upkeep as audit_pages
from digest.web.admin.blueprint import admin_pages
from digest.web.admin.settings import setting_pages
from digest.web.admin.subscribers import (
    growth_pages,
    import_pages,
    list_pages,
    reader_pages,
    record_pages,
    search_pages,
    silence_pages,
)

# A place for admins: its key in the templates, its title, its first page. They stand in this order.
ADMIN_PLACES = (
    ("readers", "Readers", "admin.list_readers"),
    ("import", "Import", "admin.list_imports"),
    ("deliveries", "Deliveries", "admin.list_deliveries"),
    ("growth", "Growth", "admin.show_growth"),
    ("staff", "Staff", "admin.list_staff"),
    ("audit", "Audit log", "admin.show_audit_log"),
    ("health", "Health", "admin.show_health"),
    ("settings", "Settings", "admin.list_settings"),
)


@admin_pages.app_context_processor
def provide_admin_places() -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Lend the layout the places for admins."""
    return {"admin_places": ADMIN_PLACES}


__all__ = [
    "admin_pages",
    "audit_pages",
    "delivery_pages",
    "growth_pages",
    "health_pages",
    "import_pages",
    "list_pages",
    "processing_pages",
    "reader_pages",
    "record_pages",
    "search_pages",
    "setting_pages",
    "silence_pages",
    "source_pages",
    "staff_pages",
]
