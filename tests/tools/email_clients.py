"""Pictures of an email in the email clients that are installed: Thunderbird, and WebKitGTK, which is Evolution's engine.

Each runs in a profile of its own, on a screen of its own (Xvfb). A client that's missing is named, not skipped silently.
"""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from PIL import Image

SCHEMES, IMAGES = ("light", "dark"), ("images", "no-images")
START_TIME = 100  # seconds that Thunderbird gets until its message is drawn
LONGEST = 240  # seconds for one picture
DEBIAN_PYTHON = "/usr/bin/python3"
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
    """One picture to take: the email, as a file and as HTML, where the picture goes, and how the email is shown."""

    message: Path
    html: Path
    target: Path
    scheme: str
    images: str


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
        for name, (tools, take) in CLIENTS.items():
            if missing := [tool for tool in tools if not shutil.which(tool)]:
                yield f"{name}: LEFT OUT, {', '.join(missing)} not installed"
                continue
            pictures = [
                ClientPicture(source, page, folder / f"{name}-{scheme}-{images}.png", scheme, images)
                for scheme in SCHEMES
                for images in IMAGES
            ]
            taken = sum(take(picture) for picture in pictures)
            yield f"{name}: {taken} of {len(pictures)} pictures"


def _run_on_a_screen(command: list[str]) -> bool:
    screen = ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1000x1400x24", *command]
    try:
        return subprocess.run(screen, capture_output=True, check=False, timeout=LONGEST).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _show_in_webkit(picture: ClientPicture) -> bool:
    script = Path(__file__).with_name("webkit_picture.py")
    shown = (str(picture.html), str(picture.target), "640", picture.scheme, picture.images)
    return _run_on_a_screen([DEBIAN_PYTHON, str(script), *shown]) and picture.target.exists()


def _show_in_thunderbird(picture: ClientPicture) -> bool:
    preferences = _THUNDERBIRD_PREFERENCES | {
        "layout.css.prefers-color-scheme.content-override": "0" if picture.scheme == "dark" else "1",
        "mailnews.message_display.disable_remote_image": "true" if picture.images == "no-images" else "false",
    }
    with tempfile.TemporaryDirectory() as profile:
        lines = (f'user_pref("{name}", {value});\n' for name, value in preferences.items())
        (Path(profile) / "user.js").write_text("".join(lines), "utf-8")
        script = 'thunderbird --profile "$0" "$1" & sleep "$2"; import -window root "$3"; kill $!; wait'
        shown = (profile, str(picture.message), str(START_TIME), str(picture.target))
        _run_on_a_screen(["sh", "-c", script, *shown])
    return picture.target.exists()


CLIENTS: dict[str, tuple[tuple[str, ...], Callable[[ClientPicture], bool]]] = {
    "webkit": (("xvfb-run", DEBIAN_PYTHON), _show_in_webkit),
    "thunderbird": (("xvfb-run", "thunderbird", "import"), _show_in_thunderbird),
}
