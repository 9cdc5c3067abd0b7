"""Branding: unreadable colors are rejected with one sentence, and the others are used in emails and pages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.settings import BrandingSettings, SettingsError, load_settings
from digest.settings.branding import PAPER, PAPER_DARK, TINT_DARK
from digest.settings.colors import READABLE_CONTRAST, contrast_ratio, find_nearest_readable_color, hue_distance

COLOURS = st.integers(0, 0xFFFFFF).map("#{:06X}".format)
TEAL = {
    "background": "#F8FBFB",
    "tint": "#F1F5F5",
    "tint_dark": "#1A2626",
    "accent": "#00606B",
    "accent_dark": "#6FD0DB",
    "label": "#8A2C5E",
    "label_dark": "#F09AC4",
    "headings": "sans",
    "bar": 4,
    "bar_color": "accent",
}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "accent",
            "#5E9ED6",
            "#5E9ED6 on the page background #FFFFFF has a contrast ratio of 2.8, and at least 4.5 is required; #2D73B1 works",
        ),
        (
            "accent_dark",
            "#0B4F8A",
            "#0B4F8A on the page background #12161C has a contrast ratio of 2.1, and at least 4.5 is required; #",
        ),
        ("label", "#0B6F8A", "degrees from accent #0B4F8A, so labels would look like links (at least 30"),
        ("tint", "#A0A8B0", "small print (#56606C) on it has a contrast ratio of 2.6, and at least 4.5 is required; #"),
        ("label_dark", "red", "'red' isn't a color; use one such as #0B4F8A"),
        ("tint", "#D5D9DF", "label: #B0390C on the background of panels #D5D9DF has a contrast ratio of 4.3"),
    ],
)
def test_what_could_not_be_read_is_refused_in_a_sentence(key: str, value: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(f'[branding]\n{key} = "{value}"\n')
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {})
    (_, line) = str(refused.value).splitlines()
    assert line.startswith("  branding.")
    assert says in line


def test_a_look_of_ones_own_is_taken() -> None:
    branding = BrandingSettings.model_validate(TEAL)
    assert round(contrast_ratio(branding.accent, branding.tint), 1) == 6.6
    assert branding.heading_font.startswith("-apple-system")


@given(COLOURS, st.sampled_from([(PAPER, "#F4F5F7"), (PAPER_DARK, TINT_DARK)]))
def test_the_colour_that_is_offered_can_be_read(colour: str, grounds: tuple[str, str]) -> None:
    nearest = find_nearest_readable_color(colour, grounds)
    assert nearest is not None
    assert min(contrast_ratio(nearest, ground) for ground in grounds) >= READABLE_CONTRAST


@given(COLOURS, COLOURS)
def test_contrast_and_hue_are_the_same_both_ways(first: str, second: str) -> None:
    assert 1 <= contrast_ratio(first, second) == contrast_ratio(second, first) <= 21
    apart = hue_distance(first, second)
    assert apart == hue_distance(second, first)
    assert apart is None or 0 <= apart <= 180
