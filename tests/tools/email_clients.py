"""Take screenshots of an email in the installed email clients: Thunderbird, Claws, neomutt, Roundcube, and WebKitGTK
(Evolution's engine).

Each runs in a profile of its own, on a screen of its own (Xvfb), except Roundcube: its own code cleans the email, and
Chromium shows the result with Roundcube's style sheets. A client that's missing is named, not skipped silently.
"""

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from PIL import Image

from tests.browser import SCHEMES, Scheme, open_browser
from tests.conftest import find_tool

LONGEST = 240  # seconds for one picture
DEBIAN_PYTHON = "/usr/bin/python3"
CLAWS_VIEWER = Path("/usr/lib/x86_64-linux-gnu/claws-mail/plugins/fancy.so")
ROUNDCUBE, ROUNDCUBE_DEFAULTS = Path("/usr/share/roundcube"), Path("/etc/roundcube/defaults.inc.php")
_THUNDERBIRD_PREFERENCES = {
    "mail.provider.suppress_dialog_on_startup": "true",
    "mail.accounthub.enabled": "false",
    "mailnews.start_page.enabled": "false",
    "mail.shell.checkDefaultClient": "false",
    "app.update.enabled": "false",
    "datareporting.policy.dataSubmissionEnabled": "false",
}


@dataclass(frozen=True, slots=True)
class ClientPicture:
    """One picture to take: the email, as a file and as HTML, where the picture goes, and how the email is shown.

    `view` is `images` or `no-images`, and in a terminal `html` or `plain`.
    """

    message: Path
    html: Path
    target: Path
    scheme: Scheme
    view: str


@dataclass(frozen=True, slots=True)
class EmailClient:
    """A client: the commands and files that it needs, how it takes a picture, and of which views."""

    needs: tuple[str | Path, ...]
    take: Callable[[ClientPicture], bool]
    schemes: tuple[Scheme, ...] = SCHEMES
    views: tuple[str, ...] = ("images", "no-images")


class _ImageHandler(BaseHTTPRequestHandler):
    """Answers every request with one image."""

    def do_GET(self) -> None:
        """Send the image."""
        image = io.BytesIO()
        Image.new("RGB", (1120, 630), "#335577").save(image, "JPEG")
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.end_headers()
        self.wfile.write(image.getvalue())

    def log_message(self, *_words: object) -> None:
        """Log nothing."""


@contextmanager
def serve_images() -> Iterator[str]:
    """Serve an image at every path on loopback; give the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _ImageHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def take_client_pictures(message: bytes, html: str, folder: Path) -> Iterator[str]:
    """Take the pictures, and yield a line for each client: how many were taken, or what's missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source, page = Path(scratch) / "mail.eml", Path(scratch) / "mail.html"
        source.write_bytes(message)
        page.write_text(html, "utf-8")
        for name, client in CLIENTS.items():
            if missing := find_missing(name):
                yield f"{name}: LEFT OUT, {', '.join(missing)} not installed"
                continue
            pictures = [
                ClientPicture(source, page, folder / f"{name}-{scheme}-{view}.png", scheme, view)
                for scheme in client.schemes
                for view in client.views
            ]
            taken = sum(client.take(picture) for picture in pictures)
            yield f"{name}: {taken} of {len(pictures)} pictures"


def find_missing(name: str) -> list[str]:
    """List what a client needs and this machine doesn't have."""
    return [str(need) for need in CLIENTS[name].needs if not (shutil.which(need) or Path(need).is_file())]


def _run_on_a_screen(command: list[str], environment: Mapping[str, str] | None = None) -> bool:
    # GTK starts helpers by the session bus, which end with it.
    screen = [
        "dbus-run-session",
        "--",
        "xvfb-run",
        "--auto-servernum",
        "--server-args=-screen 0 1000x1400x24",
        *command,
    ]
    try:
        done = subprocess.run(
            screen,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=LONGEST,
            env=os.environ | (environment or {}),
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _take_screen(picture: ClientPicture, seconds: int, command: list[str], environment: Mapping[str, str]) -> bool:
    """Start a program, take a picture of its screen after some seconds, and end it."""
    script = 'target=$0 seconds=$1; shift; "$@" & sleep "$seconds"; import -window root "$target"; kill $!; wait'
    _run_on_a_screen(["sh", "-c", script, str(picture.target), str(seconds), *command], environment)
    return picture.target.exists()


def show_in_webkit(
    html: Path, target: Path, *, width: int, scheme: Scheme, view: str = "images", base: str = "http://127.0.0.1/"
) -> bool:
    """Take a picture of an HTML file whose links are relative to `base`; return whether it was taken."""
    script = Path(__file__).with_name("webkit_picture.py")
    shown = (str(html), str(target), str(width), scheme, view, base)
    return _run_on_a_screen([DEBIAN_PYTHON, str(script), *shown]) and target.exists()


def _show_in_webkit(picture: ClientPicture) -> bool:
    return show_in_webkit(picture.html, picture.target, width=640, scheme=picture.scheme, view=picture.view)


def _show_in_thunderbird(picture: ClientPicture) -> bool:
    preferences = _THUNDERBIRD_PREFERENCES | {
        "ui.systemUsesDarkTheme": str(int(picture.scheme == "dark")),
        "mailnews.message_display.disable_remote_image": "true" if picture.view == "no-images" else "false",
    }
    with tempfile.TemporaryDirectory() as profile:
        lines = (f'user_pref("{name}", {value});\n' for name, value in preferences.items())
        (Path(profile) / "user.js").write_text("".join(lines), "utf-8")
        return _take_screen(picture, 100, ["thunderbird", "--profile", profile, str(picture.message)], {})


def _show_in_claws(picture: ClientPicture) -> bool:
    with tempfile.TemporaryDirectory() as home:
        for name in ("inbox", "sent", "draft", "queue", "trash"):
            (Path(home) / "mail" / name).mkdir(parents=True)
        shutil.copy(picture.message, Path(home) / "mail/inbox/1")
        loads = int(picture.view == "images")
        for name, text in _CLAWS_FILES.items():
            filled = text.format(home=home, viewer=CLAWS_VIEWER, loads=loads)
            (Path(home) / name).write_text(filled, "utf-8")
        theme = "Adwaita:dark" if picture.scheme == "dark" else "Adwaita"
        command = ["claws-mail", "--alternate-config-dir", home, "--select", "#mh/Mailbox/inbox/1"]
        return _take_screen(picture, 40, command, {"HOME": home, "GTK_THEME": theme})


_CLAWS_FILES = {
    "clawsrc": """[Common]
config_version=4
promote_html_part=1
mainwin_x=0
mainwin_y=0
mainwin_width=1000
mainwin_height=1400
folderview_width=60
summaryview_height=60
[Plugins_GTK3]
{viewer}
[fancy]
enable_images={loads}
enable_remote_content={loads}
""",
    "accountrc": "[Account: 1]\naccount_name=Reader\nis_default=1\nname=Reader\naddress=reader@example.org\nprotocol=5\n",
    "folderlist.xml": """<?xml version="1.0" encoding="UTF-8"?>
<folderlist><folder type="mh" name="Mailbox" path="{home}/mail">
<folderitem name="inbox" path="inbox" type="inbox"/><folderitem name="sent" path="sent" type="outbox"/>
<folderitem name="draft" path="draft" type="draft"/><folderitem name="queue" path="queue" type="queue"/>
<folderitem name="trash" path="trash" type="trash"/>
</folder></folderlist>
""",
}


def _show_in_neomutt(picture: ClientPicture) -> bool:
    with tempfile.TemporaryDirectory() as home:
        for name in ("cur", "new", "tmp"):
            (Path(home) / "mail" / name).mkdir(parents=True)
        shutil.copy(picture.message, Path(home) / "mail/new/1")
        (Path(home) / "mailcap").write_text(
            "text/html; w3m -I utf-8 -O utf-8 -dump -T text/html -cols 78 %s; copiousoutput\n", "utf-8"
        )
        (Path(home) / "neomuttrc").write_text(
            f"set folder={home}/mail mailcap_path={home}/mailcap\nauto_view text/html\n"
            f"alternative_order text/{picture.view}\npush <display-message>\n",
            "utf-8",
        )
        terminal = ["xterm", "-u8", "-fa", "DejaVu Sans Mono", "-fs", "11", "-geometry", "100x74+0+0"]
        command = [*terminal, "-e", "neomutt", "-F", f"{home}/neomuttrc", "-f", f"{home}/mail"]
        return _take_screen(picture, 20, command, {"HOME": home, "LC_ALL": "C.UTF-8"})


_ROUNDCUBE_PAGE = """<!DOCTYPE html><html class="{scheme}-mode"><head><meta charset="utf-8">
<link rel="stylesheet" href="file://{skin}/deps/bootstrap.min.css"><link rel="stylesheet" href="file://{skin}/styles/styles.min.css">
<style>html,body,#layout,#layout-content{{height:auto;position:static;overflow:visible}}</style></head>
<body class="task-mail action-show"><div id="layout"><div id="layout-content" class="selected">
<div id="message-content"><div id="messagebody">{email}</div></div></div></div></body></html>"""


def _show_in_roundcube(picture: ClientPicture) -> bool:
    with tempfile.TemporaryDirectory() as folder, open_browser(find_tool("chromium") or "chromium") as browser:
        shutil.copy(ROUNDCUBE_DEFAULTS, folder)
        (Path(folder) / "config.inc.php").write_text(
            f"<?php $config = ['db_dsnw' => 'sqlite:///{folder}/empty.db', 'log_driver' => 'stdout'];\n", "utf-8"
        )
        washed = subprocess.run(
            ["php", str(Path(__file__).with_name("roundcube_wash.php")), picture.view],
            input=picture.html.read_bytes(),
            capture_output=True,
            check=True,
            env=os.environ | {"ROUNDCUBE_CONFIG_DIR": folder},
        )
        file = Path(folder) / "message.html"
        skin, email = ROUNDCUBE / "skins/elastic", washed.stdout.decode()
        file.write_text(_ROUNDCUBE_PAGE.format(scheme=picture.scheme, skin=skin, email=email), "utf-8")
        page = browser.new_page(viewport={"width": 700, "height": 900}, color_scheme=picture.scheme)
        page.goto(file.as_uri())
        page.screenshot(path=picture.target, full_page=True)
    return picture.target.exists()


_SCREEN = ("dbus-run-session", "xvfb-run", "import")
CLIENTS = {
    "webkit": EmailClient((*_SCREEN, DEBIAN_PYTHON), _show_in_webkit),
    "thunderbird": EmailClient((*_SCREEN, "thunderbird"), _show_in_thunderbird),
    "claws": EmailClient((*_SCREEN, "claws-mail", CLAWS_VIEWER), _show_in_claws),
    "neomutt": EmailClient((*_SCREEN, "neomutt", "xterm", "w3m"), _show_in_neomutt, ("dark",), ("html", "plain")),
    "roundcube": EmailClient(("php", ROUNDCUBE_DEFAULTS, ROUNDCUBE / "index.php"), _show_in_roundcube),
}
