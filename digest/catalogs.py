"""Where the message catalogues of readers' languages are found, and how one is read.

A catalogue is `<language>/LC_MESSAGES/digest.po` below `digest/locale`, or below `locale` in the operator's folder of
templates, which wins. It is compiled when it is read, so that what stands in the wheel is what translators write.
"""

import io
import re
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from itertools import chain
from pathlib import Path

from subscribers.errors import ApplicationError
from subscribers.subscriber_language import ENGLISH, SOURCE_LANGUAGE, SubscriberLanguage, base_language

SHIPPED_CATALOGUES = Path(__file__).parent / "locale"


_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class CatalogError(ApplicationError):
    """A message catalogue cannot be used; the message names its file and what to do."""


def find_catalog(code: str, operator_folder: Path | None = None) -> Path | None:
    """Return the catalogue of a language: the operator's before the shipped one, "fr-CA" before "fr"; None where there is none."""
    for folder in ([operator_folder / "locale"] if operator_folder else []) + [SHIPPED_CATALOGUES]:
        for name in (code.replace("-", "_"), base_language(code)):
            file = folder / name / "LC_MESSAGES" / "digest.po"
            if file.is_file():
                return file
    return None


def list_languages(operator_folder: Path | None = None) -> tuple[str, ...]:
    """List the languages that there are, by their tags: English, and those with a catalogue."""
    folders = [SHIPPED_CATALOGUES, *([operator_folder / "locale"] if operator_folder else [])]
    files = chain.from_iterable(folder.glob("*/LC_MESSAGES/digest.po") for folder in folders)
    return tuple(sorted({SOURCE_LANGUAGE, *(file.parts[-3].replace("_", "-") for file in files)}))


def name_language(code: str) -> str:
    """Return the English name of a language; empty if there's none."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code, sep="-").english_name or ""
    except (ValueError, UnknownLocaleError):
        return ""


def load_language(code: str, operator_folder: Path | None = None) -> SubscriberLanguage:
    """Return a language with its messages; it is kept until its file changes.

    Raises:
        CatalogError: it is no language, there is no catalogue, or the catalogue cannot be read.
    """
    if not _LANGUAGE_TAG.fullmatch(code):
        raise _unknown_language(code)
    file = find_catalog(code, operator_folder)
    if file is not None:
        return _load_catalogue(code, file, file.stat().st_mtime_ns)
    if base_language(code) != SOURCE_LANGUAGE:
        raise CatalogError(
            f"there's no catalog for {code!r}: use one of {', '.join(list_languages(operator_folder))}, or save a "
            f"translation of the messages as locale/{code.replace('-', '_')}/LC_MESSAGES/digest.po in the "
            "DIGEST_TEMPLATES folder (see docs/translating.md)"
        )
    if code == SOURCE_LANGUAGE:
        return ENGLISH
    _check_language_tag(code)
    return _load_english(code)


@lru_cache(maxsize=8)
def _load_english(code: str) -> SubscriberLanguage:
    return SubscriberLanguage(code)


@lru_cache(maxsize=8)
def _load_catalogue(code: str, file: Path, changed_ns: int) -> SubscriberLanguage:
    del changed_ns  # part of the key alone
    _check_language_tag(code)
    return SubscriberLanguage(code, compile_catalog(file))


def compile_catalog(file: Path) -> NullTranslations:
    """Read and compile a catalogue; a message that nobody translated, or that is marked as doubtful, stays English.

    Raises:
        CatalogError: it is no catalogue.
    """
    from babel.messages.mofile import write_mo  # commands that write to no reader start without it
    from babel.messages.pofile import PoFileError, read_po

    try:
        with file.open("rb") as source:
            catalogue = read_po(source, abort_invalid=True)
        compiled = io.BytesIO()
        write_mo(compiled, catalogue)
        return GNUTranslations(io.BytesIO(compiled.getvalue()))
    except (OSError, ValueError, PoFileError) as exc:
        raise CatalogError(f"can't read the catalog {file}: {exc}") from exc


def _check_language_tag(code: str) -> None:
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(code, sep="-")
    except (ValueError, UnknownLocaleError) as exc:
        raise _unknown_language(code) from exc


def _unknown_language(code: str) -> CatalogError:
    return CatalogError(f"{code!r} isn't a supported language; use one such as en, fr, or fr-CA")
