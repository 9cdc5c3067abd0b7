"""The publisher's look on readers' pages: style variables over those of `templates/web/base.css`. The desk keeps its own."""

from digest.settings import LookSettings
from digest.settings.look import TINT_DARK


def write_look_styles(look: LookSettings) -> str:
    """Return a style sheet that follows base.css and reader.css; empty where the look is the one that they have."""
    if look == LookSettings():
        return ""
    news = "var(--sans)" if look.headings == "sans" else "var(--serif)"
    bar = "var(--link)" if look.bar_colour == "accent" else "var(--ink)"
    return (
        f":root {{ --link: {look.accent}; --signal: {look.label}; --tint: {look.tint}; --news: {news}; "
        f"--bar: {look.bar}px; --bar-colour: {bar}; }}\n"
        "@media (prefers-color-scheme: dark) { "
        f":root {{ --link: {look.accent_dark}; --signal: {look.label_dark}; --tint: {TINT_DARK}; }} }}\n"
    )
