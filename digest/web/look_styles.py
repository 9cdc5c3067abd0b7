"""The publisher's look on readers' pages: a logo, and style variables over those of `templates/web/base.css`. The desk keeps its own."""

from markupsafe import Markup

from digest.collect.codec.encoded_image import LOGO_HEIGHT
from digest.settings import LogoPair, LookSettings
from digest.settings.look import TINT_DARK
from digest.web.filters import word_mark


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


def write_publication_mark(name: str, logo: LogoPair | None, media_path: str) -> Markup:
    """Return what stands on top of readers' pages: the logo, by the scheme of the screen, or the name as a word mark."""
    if logo is None:
        return word_mark(name)
    return Markup(
        '<picture><source media="(prefers-color-scheme: dark)" srcset="{path}{dark}" width="{dark_width}" height="{height}">'
        '<img src="{path}{light}" width="{light_width}" height="{height}" alt="{name}"></picture>'
    ).format(path=media_path, height=LOGO_HEIGHT, name=name, **logo.model_dump())
