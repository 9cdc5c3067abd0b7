"""Draw the sample's images: `python -m tests.tools.draw_sample [NAME …]` writes JPEG files to digest/sample.

Chromium renders each scene at twice its size; Pillow brings it down and writes the JPEG without metadata.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser import open_browser
from tests.conftest import find_tool
from tests.tools import scenes_hills, scenes_roads, scenes_rooms, scenes_town, scenes_water
from tests.tools.svg_shapes import HEIGHT, WIDTH

SAMPLE_FOLDER = Path(__file__).resolve().parents[2] / "digest" / "sample"
SCENE_MODULES = (scenes_hills, scenes_roads, scenes_rooms, scenes_town, scenes_water)
SCENES = {name: scene for place in SCENE_MODULES for name, scene in place.SCENES.items()}
MAX_BYTES = 120_000


def main(names: list[str]) -> None:
    """Draw the named scenes, or all."""
    with open_browser(find_tool("chromium") or "chromium") as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=2)
        for name in names or sorted(SCENES):
            weight = draw_scene(page, SCENES[name](), SAMPLE_FOLDER / f"{name}.jpg")
            print(f"{name}.jpg {weight // 1000} KB")


def draw_scene(page: Page, svg: str, file: Path) -> int:
    """Render one scene into a file and give its weight in bytes."""
    page.set_content(f'<body style="margin:0">{svg}</body>')
    with Image.open(io.BytesIO(page.screenshot())) as big:
        small = big.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    for quality in (90, 86, 82, 76, 70):
        small.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        if (weight := file.stat().st_size) <= MAX_BYTES:
            return weight
    raise SystemExit(f"{file.name}: {weight} bytes even at quality 70; make the scene plainer")


if __name__ == "__main__":
    main(sys.argv[1:])
