"""Finding templates, and the Jinja environment."""

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

from subscribers.english_text import curl_quotes
from subscribers.errors import ApplicationError
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage


class TemplateMistakeError(ApplicationError):
    """Raised when an operator's template can't be used.

    The message names the file, the line, and the mistake.
    """


class TemplateCodeCache(BytecodeCache):
    """A cache that keeps compiled templates in memory, by file and source.

    New environments then don't compile them again. The code depends on an environment's options, so
    each kind of environment needs a separate cache.
    """

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Set the bucket's code if the same source has already been compiled, or to None otherwise."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store the code of a bucket."""
        if bucket.code is not None:
            self._codes[bucket.key, bucket.checksum] = bucket.code


_code_cache = TemplateCodeCache()
_TEMPLATE_SUFFIXES = frozenset({".html", ".txt"})
# The names that Jinja and Flask pass to every template.
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
    """An environment that reports the place of a mistake in an operator's template.

    For web pages, it's combined with Flask's environment.
    """

    def handle_exception(self, source: str | None = None) -> NoReturn:
        """Reraise an error from compiling or rendering a template.

        If it's Jinja's error, raise a `TemplateMistakeError` instead.
        """
        try:
            super().handle_exception(source)
        except TemplateError as exc:
            mistake = f"there is no template {exc}" if isinstance(exc, TemplateNotFound) else exc.message
            raise TemplateMistakeError(describe_template_mistake(_locate_mistake(exc), str(mistake))) from exc


def describe_template_mistake(place: str, mistake: str) -> str:
    """Return a message about a mistake in an operator's template.

    It says where the mistake is and how to fix it.
    """
    return f"{place}: {mistake.rstrip('.')}. Correct the template, or remove it from DIGEST_TEMPLATES to use the built-in one."


def _locate_mistake(error: TemplateError) -> str:
    """Return the file and the line of a mistake.

    Tracebacks show templates with their own file names and lines.
    """
    if isinstance(error, TemplateSyntaxError):
        return f"{error.filename or error.name}, line {error.lineno}"
    places = [place for place in _traceback_places(error.__traceback__) if not place[0].endswith(".py")]
    return "{}, line {}".format(*places[-1]) if places else "One of your templates"


def _traceback_places(frame: TracebackType | None) -> Iterator[tuple[str, int]]:
    while frame is not None:
        yield frame.tb_frame.f_code.co_filename, frame.tb_lineno
        frame = frame.tb_next


def find_template_folder() -> Path:
    """Return the folder of the built-in templates, in the installed package or in the checkout."""
    packaged = Path(__file__).parent / "templates"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "templates"


def create_jinja_environment(
    operator_folder: Path | None = None, language: SubscriberLanguage = ENGLISH
) -> Environment:
    """Return an environment that escapes HTML and raises an error for undefined names.

    Templates in `operator_folder` override the built-in ones. If there is such a folder, a mistake
    in a template raises `TemplateMistakeError` when the template is compiled or rendered.
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
    """Install `_`, `ngettext`, `pgettext`, and `trans`.

    The language is looked up when a template is rendered. Messages don't contain markup. Instead,
    placeholders such as %(strong)s and %(end)s stand for tags.
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
    environment.filters |= {"curly": curl_quotes, "tied": tie_last_words, "unbroken": keep_unbroken}


def tie_last_words(text: str) -> Markup:
    """Return text whose last two words are joined with a nonbreaking space.

    A page then keeps them on the same line.
    """
    before, blank, last = escape(text).rpartition(" ")
    return before + _NO_BREAK + last if blank else last


def keep_unbroken(text: str) -> Markup:
    """Return text in which all spaces are nonbreaking.

    A page then keeps the text on one line.
    """
    return escape(text).replace(" ", _NO_BREAK)


def find_template_mistakes(operator_folder: Path) -> list[str]:
    """Return descriptions of mistakes in the operator's templates.

    A mistake is a template that can't be parsed, or a name that no built-in template uses.
    """
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
            # A template that doesn't override a built-in one gets its names from the templates that
            # include it.
            if (find_template_folder() / name).is_file():
                mistakes += _list_unknown_names(parsed, file, _known_names(name.parts[0]) | environment.globals.keys())
                mistakes += _list_unknown_site_fields(parsed, file) if name.parts[0] == "web" else ()
    return mistakes


def _list_unknown_names(parsed: nodes.Template, file: Path, known_names: AbstractSet[str]) -> Iterator[str]:
    """Yield a message for each undefined name in a template, because rendering would fail."""
    own = {name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"}
    own |= {macro.name for macro in parsed.find_all(nodes.Macro)}
    own |= {imported.target for imported in parsed.find_all(nodes.Import)}
    for imported in parsed.find_all(nodes.FromImport):
        own |= {name if isinstance(name, str) else name[1] for name in imported.names}
    # A template may test whether a name is defined.
    asking: list[nodes.Node | None] = [
        test.node for test in parsed.find_all(nodes.Test) if test.name in {"defined", "undefined"}
    ]
    asking += [filtered.node for filtered in parsed.find_all(nodes.Filter) if filtered.name in {"default", "d"}]
    own |= {node.name for node in asking if isinstance(node, nodes.Name)}
    for name in parsed.find_all(nodes.Name):
        if name.name not in known_names and name.name not in own:
            own.add(name.name)  # report each name once per template
            yield describe_template_mistake(f"{file}, line {name.lineno}", f"'{name.name}' is undefined")


def _list_unknown_site_fields(parsed: nodes.Template, file: Path) -> Iterator[str]:
    """Yield a message for each attribute of `site` that a page uses but that doesn't exist."""
    # Imported late, because it imports Flask, which most commands don't need.
    from subscribers.pages.context import SiteDetails

    known_fields = dir(SiteDetails)  # including its properties
    for access in parsed.find_all(nodes.Getattr):
        if isinstance(access.node, nodes.Name) and access.node.name == "site" and access.attr not in known_fields:
            yield describe_template_mistake(f"{file}, line {access.lineno}", f"'site' has no attribute '{access.attr}'")


@lru_cache(maxsize=4)
def _known_names(area: str) -> frozenset[str]:
    """Return the names that the built-in templates of an area use, and those that are always defined.

    The area is `mail` or `web`.
    """
    environment, folder, names = create_jinja_environment(), find_template_folder() / area, set(_ALWAYS_THERE)
    for file in (path for path in folder.rglob("*") if path.suffix in _TEMPLATE_SUFFIXES):
        names |= {name.name for name in environment.parse(file.read_text("utf-8")).find_all(nodes.Name)}
    return frozenset(names)
