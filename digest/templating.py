"""Where templates are found, and the one way a Jinja environment is made."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import Path
from types import CodeType, TracebackType
from typing import NoReturn

from jinja2 import (
    BytecodeCache,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    nodes,
    select_autoescape,
)
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from subscribers.errors import ApplicationError
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage


class TemplateMistakeError(ApplicationError):
    """A template of the operator's own cannot be used; the message names its file, the line and the mistake."""


class TemplateCodeCache(BytecodeCache):
    """Keeps the code of templates in memory, by file and source: an environment that is made anew compiles none again.

    Code depends on the options of its environment, so each kind of environment has a cache of its own.
    """

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Put the code of this source into the bucket, where it was compiled before."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of the bucket."""
        if bucket.code is not None:
            self._codes[bucket.key, bucket.checksum] = bucket.code


_code_cache = TemplateCodeCache()
_TEMPLATE_SUFFIXES = frozenset({".html", ".txt"})
# What Jinja and Flask hand to every template of theirs.
_ALWAYS_THERE = frozenset(
    {
        "caller",
        "config",
        "csrf_token",
        "g",
        "get_flashed_messages",
        "kwargs",
        "loop",
        "request",
        "self",
        "session",
        "super",
    }
    | {"url_for", "varargs"}
)
_NO_BREAK = Markup("&nbsp;")


class OperatorTemplates(Environment):
    """Names the place of a mistake in the operator's own templates; pages mix it into the environment of their framework."""

    def handle_exception(self, source: str | None = None) -> NoReturn:
        """Raise what was raised while a template was compiled or rendered: Jinja calls this for either."""
        try:
            super().handle_exception(source)
        except TemplateError as exc:
            mistake = f"there is no template {exc}" if isinstance(exc, TemplateNotFound) else exc.message
            raise TemplateMistakeError(describe_template_mistake(_locate_mistake(exc), str(mistake))) from exc


def describe_template_mistake(place: str, mistake: str) -> str:
    """Say what is wrong with a template of the operator's own, where, and what to do."""
    return f"{place}: {mistake}. Correct it, or remove the file from DIGEST_TEMPLATES to use the built-in template."


def _locate_mistake(error: TemplateError) -> str:
    """Name the file and the line of a mistake: in a traceback, templates stand by their own names and lines."""
    if isinstance(error, TemplateSyntaxError):
        return f"{error.filename or error.name}, line {error.lineno}"
    places = [place for place in _traceback_places(error.__traceback__) if not place[0].endswith(".py")]
    return "{}, line {}".format(*places[-1]) if places else "A template of your own"


def _traceback_places(frame: TracebackType | None) -> Iterator[tuple[str, int]]:
    while frame is not None:
        yield frame.tb_frame.f_code.co_filename, frame.tb_lineno
        frame = frame.tb_next


def find_template_folder() -> Path:
    """Return the shipped templates: inside the installed package, else beside it in a checkout."""
    packaged = Path(__file__).parent / "templates"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "templates"


def create_jinja_environment(
    operator_folder: Path | None = None, language: SubscriberLanguage = ENGLISH
) -> Environment:
    """Make an environment that escapes HTML, refuses unknown names, looks at `operator_folder` first and speaks `language`.

    With such a folder, compiling and rendering raise `TemplateMistakeError` for a mistake in a template.
    """
    loaders = [
        FileSystemLoader(place) for place in ([operator_folder] if operator_folder else []) + [find_template_folder()]
    ]
    environment = (OperatorTemplates if operator_folder else Environment)(
        loader=ChoiceLoader(loaders),
        bytecode_cache=_code_cache,
        undefined=StrictUndefined,
        autoescape=select_autoescape(enabled_extensions=("html",), default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    install_language(environment, lambda: language)
    return environment


def install_language(environment: Environment, find_language: Callable[[], SubscriberLanguage]) -> None:
    """Give templates `_`, `ngettext`, `pgettext` and `trans`, in the language that is found when a template is rendered.

    A message holds no markup: what stands for a tag is a value, as %(strong)s and %(end)s do.
    """

    def gettext(message: str) -> str:
        return find_language().translations.gettext(message)

    def ngettext(singular: str, plural: str, count: int) -> str:
        return find_language().translations.ngettext(singular, plural, count)

    def pgettext(context: str, message: str) -> str:
        return find_language().translations.pgettext(context, message)

    environment.add_extension("jinja2.ext.i18n")
    install: Callable[..., None] = environment.install_gettext_callables  # type: ignore[attr-defined]  # by the extension
    install(gettext, ngettext, newstyle=True, pgettext=pgettext)
    environment.filters |= {"tied": tie_last_words, "unbroken": keep_unbroken}


def tie_last_words(text: str) -> Markup:
    """Keep the last two words of a sentence on one line of a page."""
    before, blank, last = escape(text).rpartition(" ")
    return before + _NO_BREAK + last if blank else last


def keep_unbroken(text: str) -> Markup:
    """Keep all words of a short text on one line of a page."""
    return escape(text).replace(" ", _NO_BREAK)


def find_template_mistakes(operator_folder: Path) -> list[str]:
    """Say what is wrong with every template in the operator's folder that cannot be parsed, or that uses a name which no shipped one does."""
    environment, mistakes = create_jinja_environment(operator_folder), []
    for file in sorted(path for path in operator_folder.rglob("*") if path.suffix in _TEMPLATE_SUFFIXES):
        try:
            parsed = environment.parse(file.read_text("utf-8"), file.name, str(file))
        except TemplateMistakeError as exc:
            mistakes.append(str(exc))
        except (OSError, UnicodeDecodeError):
            mistakes.append(f"{file} isn't UTF-8 text.")
        else:
            name = file.relative_to(operator_folder)
            # One that stands in for no shipped template gets its names from whichever includes it.
            if (find_template_folder() / name).is_file():
                mistakes += _list_unknown_names(parsed, file, _known_names(name.parts[0]) | environment.globals.keys())
                mistakes += _list_unknown_site_fields(parsed, file) if name.parts[0] == "web" else ()
    return mistakes


def _list_unknown_names(parsed: nodes.Template, file: Path, known_names: AbstractSet[str]) -> Iterator[str]:
    """Say which names nobody hands to a template; rendering it would fail there, for readers first."""
    own = {name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"}
    own |= {macro.name for macro in parsed.find_all(nodes.Macro)}
    own |= {imported.target for imported in parsed.find_all(nodes.Import)}
    for imported in parsed.find_all(nodes.FromImport):
        own |= {name if isinstance(name, str) else name[1] for name in imported.names}
    # A template may ask whether a name is there.
    asking: list[nodes.Node | None] = [
        test.node for test in parsed.find_all(nodes.Test) if test.name in {"defined", "undefined"}
    ]
    asking += [filtered.node for filtered in parsed.find_all(nodes.Filter) if filtered.name in {"default", "d"}]
    own |= {node.name for node in asking if isinstance(node, nodes.Name)}
    for name in parsed.find_all(nodes.Name):
        if name.name not in known_names and name.name not in own:
            own.add(name.name)  # once a template
            yield describe_template_mistake(f"{file}, line {name.lineno}", f"'{name.name}' is undefined")


def _list_unknown_site_fields(parsed: nodes.Template, file: Path) -> Iterator[str]:
    """Say what a page asks of `site`, which every page is handed, that it does not have."""
    from subscribers.pages.context import SiteDetails  # brings Flask along: commands start without it

    known_fields = dir(SiteDetails)  # its properties, too
    for access in parsed.find_all(nodes.Getattr):
        if isinstance(access.node, nodes.Name) and access.node.name == "site" and access.attr not in known_fields:
            yield describe_template_mistake(f"{file}, line {access.lineno}", f"'site' has no attribute '{access.attr}'")


@lru_cache(maxsize=4)
def _known_names(area: str) -> frozenset[str]:
    """List every name that the shipped templates of an area (mail, web) use, and those that are always there."""
    environment, folder, names = create_jinja_environment(), find_template_folder() / area, set(_ALWAYS_THERE)
    for file in (path for path in folder.rglob("*") if path.suffix in _TEMPLATE_SUFFIXES):
        names |= {name.name for name in environment.parse(file.read_text("utf-8")).find_all(nodes.Name)}
    return frozenset(names)
