"""Take a screenshot of an HTML file with WebKitGTK, using Debian's own Python, because `gi` isn't in the virtual environment.

Arguments: the file, the picture, the width in pixels, `light` or `dark`, `images` or `no-images`, and the URL that links are
relative to.
"""

import sys
from pathlib import Path
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("Gtk", "3.0")
gi.require_version("WebKit2", "4.1")
from gi.repository import GLib, Gtk, WebKit2  # type: ignore[import-not-found]  # noqa: E402 - after the versions

WAIT = 1_500  # milliseconds for layout after the page is loaded


def main() -> None:
    """Show the page in a window that isn't on a screen, and save all of it."""
    source, target, width, scheme, images, base = sys.argv[1:]
    Gtk.Settings.get_default().set_property("gtk-application-prefer-dark-theme", scheme == "dark")
    window, view = Gtk.OffscreenWindow(), WebKit2.WebView()
    view.get_settings().set_auto_load_images(images == "images")
    window.set_default_size(int(width), 1000)
    window.add(view)
    window.show_all()

    def save(_view: Any, result: Any) -> None:
        view.get_snapshot_finish(result).write_to_png(target)
        Gtk.main_quit()

    def take() -> bool:
        region, options = WebKit2.SnapshotRegion.FULL_DOCUMENT, WebKit2.SnapshotOptions.NONE
        view.get_snapshot(region, options, None, save)
        return False

    def loaded(_view: Any, event: Any) -> None:
        if event == WebKit2.LoadEvent.FINISHED:
            GLib.timeout_add(WAIT, take)

    view.connect("load-changed", loaded)
    view.load_html(Path(source).read_text("utf-8"), base)
    Gtk.main()


main()
