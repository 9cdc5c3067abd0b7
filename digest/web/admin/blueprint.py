"""The blueprint of the pages for admins. Each module of pages hangs its routes on it; `digest.web.admin.pages` gathers them."""

from flask import Blueprint

admin_pages = Blueprint("admin", __name__, url_prefix="/admin")
