"""Gather the texts that people read in the product from its templates and modules, one string per sentence, label, or message."""

import ast
import html
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from jinja2 import Environment, nodes

from tests.conftest import ROOT
from tests.test_layers import modules

WORD = re.compile(r"[A-Za-z][A-Za-z\u2019'-]+")
UNSEEN = re.compile(r"<(?P<tag>script|style)\b.*?</(?P=tag)>|<!--.*?-->", re.DOTALL)
SPOKEN_ATTRIBUTE = re.compile(r'\b(?:title|aria-label|placeholder|alt|data-confirm)="([^"]+)"')
INLINE_TAG = re.compile(r"</?(?:a|abbr|b|bdi|code|em|i|kbd|mark|small|span|strong|time)\b[^>]*>")
OTHER_TAG = re.compile(r"<[^>]*>")
CODE_BLOCK = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
CODE_SPAN = re.compile(r"`[^`\n]*`")
HOLE = "…"
BREAK = "\0"


def count_words(text: str) -> int:
    """Return the number of words in a text, without the names of its placeholders."""
    return len(WORD.findall(re.sub(r"%\(\w+\)s|\{[^}]*\}", "", text)))


@cache
def page_texts() -> dict[str, str]:
    """Return each text of the pages, with the template that has it."""
    return _template_texts(ROOT / "templates" / "web")


@cache
def email_texts() -> dict[str, str]:
    """Return each text of the emails, with the template that has it."""
    return _template_texts(ROOT / "templates" / "mail")


@cache
def error_texts() -> dict[str, str]:
    """Return each message that a module raises, with its module."""
    return {text: name for name, tree in modules().items() for text in _read_errors(tree) if count_words(text) > 2}


@cache
def option_texts() -> dict[str, str]:
    """Return the help of each option of the command line, with its module."""
    texts: dict[str, str] = {}
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("option", "Option")):
                texts |= {_read_literal(k.value): name for k in node.keywords if k.arg == "help"}
    return texts


@cache
def doc_texts() -> dict[str, str]:
    """Return each line of the docs' prose, without code, with its page. Tables have values rather than prose."""
    pages = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return {
        CODE_SPAN.sub(HOLE, line): page.name
        for page in pages
        for line in CODE_BLOCK.sub("", page.read_text("utf-8")).splitlines()
        if not line.startswith("|")
    }


def _template_texts(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in {".html", ".txt"}]
    return {
        text: file.relative_to(ROOT).as_posix()
        for file in files
        for text in _read_template(file)
        if count_words(text) > 1
    }


def _read_template(file: Path) -> Iterator[str]:
    environment = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)
    text = _flatten(environment.parse(file.read_text("utf-8")))
    if file.suffix == ".html":
        text = UNSEEN.sub("", text)
        text = OTHER_TAG.sub(BREAK, INLINE_TAG.sub("", text + BREAK + BREAK.join(SPOKEN_ATTRIBUTE.findall(text))))
    pieces = re.split(rf"{BREAK}|\n\s*\n", html.unescape(text))
    return (" ".join(piece.split()) for piece in pieces)


def _flatten(node: nodes.Node) -> str:
    """Return a template's literal text; other expressions leave a hole, messages and arguments of macros stand alone."""
    if isinstance(node, nodes.TemplateData):
        return node.data
    if isinstance(node, nodes.Const):
        spoken = isinstance(node.value, str) and count_words(node.value) > 1
        return f"{BREAK}{node.value}{BREAK}" if spoken else HOLE
    if isinstance(node, nodes.Name | nodes.Getattr):
        return HOLE
    return "".join(map(_flatten, node.iter_child_nodes()))


def _read_errors(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in [*node.exc.args, *(k.value for k in node.exc.keywords)]:
                yield _read_literal(argument)


def _read_literal(node: ast.expr) -> str:
    """Return a string as it's written, with `{expression}` for its values, or "" for any other value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_read_part(v) for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _read_literal(node.left) + _read_literal(node.right)
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(("gettext", "_", "mark_message")):
        return _read_literal(node.args[0])
    return ""


def _read_part(node: ast.expr) -> str:
    return f"{{{ast.unparse(node.value)}}}" if isinstance(node, ast.FormattedValue) else _read_literal(node)
