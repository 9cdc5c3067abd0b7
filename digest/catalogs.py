"""Message catalogs for the languages of subscribers.

A catalog is `<language>/LC_MESSAGES/digest.po` in `digest/locale`, or in `locale` in the operator's
templates folder, which takes precedence. Catalogs are compiled when they're read, so that the wheel
contains the files that translators edit.
"""

import io
import re
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from itertools import chain
from pathlib import Path

from subscribers.errors import ApplicationError
from subscribers.subscriber_language import ENGLISH, SOURCE_LANGUAGE, SubscriberLanguage, get_base_language

BUILT_IN_CATALOGS = Path(__file__).parent / "locale"


_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class CatalogError(ApplicationError):
    """Raised when a message catalog can't be used.

    The message names the file and the remedy.
    """


def find_catalog(code: str, operator_folder: Path | None = None) -> Path | None:
    """Return the path of a language's catalog, or None if there isn't one.

    The operator's catalogs take precedence over the built-in ones. In each folder, "fr-CA" takes
    precedence over "fr".
    """
    for folder in ([operator_folder / "locale"] if operator_folder else []) + [BUILT_IN_CATALOGS]:
        for name in (code.replace("-", "_"), get_base_language(code)):
            file = folder / name / "LC_MESSAGES" / "digest.po"
            if file.is_file():
                return file
    return None


def list_languages(operator_folder: Path | None = None) -> tuple[str, ...]:
    """Return the tags of the available languages: English, and those with a catalog."""
    folders = [BUILT_IN_CATALOGS, *([operator_folder / "locale"] if operator_folder else [])]
    files = chain.from_iterable(folder.glob("*/LC_MESSAGES/digest.po") for folder in folders)
    return tuple(sorted({SOURCE_LANGUAGE, *(file.parts[-3].replace("_", "-") for file in files)}))


def name_language(code: str) -> str:
    """Return the English name of a language, or an empty string if the language is unknown."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code, sep="-").english_name or ""
    except (ValueError, UnknownLocaleError):
        return ""


def load_language(code: str, operator_folder: Path | None = None) -> SubscriberLanguage:
    """Return a language with its messages.

    It's cached until the file of its catalog changes.

    Raises:
        CatalogError: the tag is invalid, or the catalog is missing or unreadable.
    """
    if not _LANGUAGE_TAG.fullmatch(code):
        raise _unknown_language(code)
    file = find_catalog(code, operator_folder)
    if file is not None:
        return _load_catalog(code, file, file.stat().st_mtime_ns)
    if get_base_language(code) != SOURCE_LANGUAGE:
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
def _load_catalog(code: str, file: Path, changed_ns: int) -> SubscriberLanguage:
    del changed_ns  # only part of the cache key
    _check_language_tag(code)
    return SubscriberLanguage(code, compile_catalog(file))


def compile_catalog(file: Path) -> NullTranslations:
    """Read and compile a catalog.

    Messages that are untranslated or fuzzy stay in English.

    Raises:
        CatalogError: the file isn't a valid catalog.
    """
    from babel.messages.mofile import write_mo  # late import, because most commands don't need Babel
    from babel.messages.pofile import PoFileError, read_po

    try:
        with file.open("rb") as source:
            catalog = read_po(source, abort_invalid=True)
        compiled = io.BytesIO()
        write_mo(compiled, catalog)
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
