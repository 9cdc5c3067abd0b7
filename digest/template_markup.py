"""A strict check of the HTML in templates for unclosed tags and unmatched end tags.

The check follows every path through the conditions of a template without rendering it, so that each
mistake has a line number.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from jinja2 import Environment, TemplateError, nodes

from digest.templating import (
    TemplateMistakeError,
    create_jinja_environment,
    describe_template_mistake,
    find_template_folder,
)

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_RAW = frozenset({"script", "style"})  # their content isn't HTML
_TAG = re.compile(r"""<(/?)([A-Za-z][\w:-]*)((?:"[^"]*"|'[^']*'|[^"'>])*?)(/?)>""")
_COMMENT = re.compile(r"<!--.*?-->|<![^-].*?>", re.DOTALL)
_MARKUP_START = re.compile(r"<(?=[A-Za-z/!]|$)")
_EXPRESSION = "\0"  # stands for what a template inserts between its literal texts
_MAX_WAYS = 200  # paths through a template; if there are more, the template isn't checked


class _TooManyWaysError(Exception):
    """Raised when a template has too many conditions to follow every path through it."""


@dataclass(frozen=True, slots=True)
class MarkupMistake:
    """A tag that has no match, and its line.

    `mistake` describes the tag, as in "<b> isn't closed".
    """

    line: int
    mistake: str


@dataclass(frozen=True, slots=True)
class _Way:
    """The state of the markup after following one path through a template.

    It has the open tags with their lines, an unfinished tag, and the outcomes of conditions.
    """

    open_tags: tuple[tuple[str, int], ...] = ()
    pending: str = ""
    pending_line: int = 0
    conditions: frozenset[tuple[str, int]] = frozenset()

    @property
    def place(self) -> tuple[object, ...]:
        """The state that determines how the rest of the template is parsed."""
        return tuple(name for name, _ in self.open_tags), self.pending


@dataclass(slots=True)
class _Reader:
    mistakes: dict[MarkupMistake, None] = field(default_factory=dict)

    def read_part(self, body: Iterable[nodes.Node]) -> None:
        """Check a part that has to close all of its own tags, such as a template or a macro."""
        for way in self.follow(body, (_Way(),)):
            for name, line in way.open_tags:
                self._report(line, f"<{name}> isn't closed")

    def follow(self, body: Iterable[nodes.Node], ways: tuple[_Way, ...]) -> tuple[_Way, ...]:
        for node in body:
            ways = _merge(new for way in ways for new in self._follow_node(node, way))
        return ways

    def _follow_node(self, node: nodes.Node, way: _Way) -> tuple[_Way, ...]:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                text = part.data if isinstance(part, nodes.TemplateData) else _EXPRESSION
                way = self._read_text(text, part.lineno, way)
            return (way,)
        if isinstance(node, nodes.If):
            return self._follow_branches(node, way)
        if isinstance(node, nodes.For):
            return _merge((way, *self.follow(node.body, (way,))))
        if isinstance(node, nodes.Macro | nodes.CallBlock | nodes.AssignBlock):
            self.read_part(node.body)
            return (way,)
        body = getattr(node, "body", None)
        return self.follow(body, (way,)) if isinstance(body, list) else (way,)

    def _follow_branches(self, node: nodes.If, way: _Way) -> tuple[_Way, ...]:
        branches = [(node.test, node.body), *((other.test, other.body) for other in node.elif_)]
        tests = [test for test, _ in branches]
        bodies = [body for _, body in branches] + [node.else_]
        if isinstance(node.test, nodes.Not) and len(tests) == 1:  # `if not`, so swap the branches
            tests, bodies = [node.test.node], bodies[::-1]
        condition = repr(tests)
        known = dict(way.conditions).get(condition)
        if known is not None:
            return self.follow(bodies[known], (way,))
        results = [self.follow(body, (way,)) for body in bodies]
        if len({result.place for ways in results for result in ways}) == 1:
            return results[0][:1]
        return tuple(
            replace(result, conditions=result.conditions | {(condition, number)})
            for number, ways in enumerate(results)
            for result in ways
        )

    def _read_text(self, text: str, line: int, way: _Way) -> _Way:
        """Parse a literal text in a template.

        If the previous text left a tag unfinished, continue that tag.
        """
        first_line = way.pending_line if way.pending else line
        text, at, tags = way.pending + text, 0, list(way.open_tags)
        while start := _MARKUP_START.search(text, at):
            if tags and tags[-1][0] in _RAW and not text.startswith(f"</{tags[-1][0]}", start.start()):
                at = start.end()
                continue
            tag = _TAG.match(text, start.start()) or _COMMENT.match(text, start.start())
            line_here = first_line + text.count("\n", 0, start.start())
            if tag is None:
                return replace(way, open_tags=tuple(tags), pending=text[start.start() :], pending_line=line_here)
            at = tag.end()
            if tag.re is _TAG:
                self._read_tag(tag, line_here, tags)
        return replace(way, open_tags=tuple(tags), pending="", pending_line=0)

    def _read_tag(self, tag: re.Match[str], line: int, tags: list[tuple[str, int]]) -> None:
        name = tag[2].lower()
        if name in _VOID or tag[4]:
            return
        if not tag[1]:
            tags.append((name, line))
        elif name not in [open_name for open_name, _ in tags]:
            self._report(line, f"</{name}> has no start tag")
        else:
            while (unclosed := tags.pop())[0] != name:
                self._report(unclosed[1], f"<{unclosed[0]}> isn't closed before </{name}>")

    def _report(self, line: int, mistake: str) -> None:
        self.mistakes[MarkupMistake(line, mistake)] = None


def _merge(ways: Iterable[_Way]) -> tuple[_Way, ...]:
    """Keep only one path of each group of paths that will continue identically."""
    merged = tuple({(way.place, way.conditions): way for way in ways}.values())
    if len(merged) > _MAX_WAYS:
        raise _TooManyWaysError
    return merged


def find_markup_mistakes(template: nodes.Template) -> Iterator[MarkupMistake]:
    """Yield the tags of a parsed template that have no match, ordered by line.

    If the template has too many conditions to follow, nothing is yielded.
    """
    reader = _Reader()
    try:
        reader.read_part(template.body)
    except _TooManyWaysError:
        return
    yield from sorted(reader.mistakes, key=lambda mistake: mistake.line)


def list_markup_mistakes(operator_folder: Path) -> list[str]:
    """Return descriptions of unmatched tags in the operator's HTML templates.

    Tags that are also unmatched in the built-in templates are left out.
    """
    environment, descriptions = create_jinja_environment(), []
    for file in sorted(operator_folder.rglob("*.html")):
        shipped = find_template_folder() / file.relative_to(operator_folder)
        expected = Counter(each.mistake for each in _read_markup(environment, shipped))
        for markup_mistake in _read_markup(environment, file):
            if expected[markup_mistake.mistake]:
                expected[markup_mistake.mistake] -= 1
            else:
                descriptions.append(
                    describe_template_mistake(f"{file}, line {markup_mistake.line}", markup_mistake.mistake)
                )
    return descriptions


def _read_markup(environment: Environment, file: Path) -> list[MarkupMistake]:
    """Return the mistakes in the HTML of a template.

    If the file can't be read or parsed, return an empty list. `find_template_mistakes` reports such
    files.
    """
    try:
        return list(find_markup_mistakes(environment.parse(file.read_text("utf-8"), file.name, str(file))))
    except (OSError, UnicodeDecodeError, TemplateError, TemplateMistakeError):
        return []
