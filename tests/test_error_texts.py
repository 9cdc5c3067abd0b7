"""Errors and preflight findings have two parts: what happened, and what to do."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    ROOT / "scheduler.py",
    *sorted((ROOT / "digest").rglob("*.py")),
    *sorted((ROOT / "subscribers").rglob("*.py")),
]
# Rooms whose errors all have both parts.
CONVERTED = (
    *(f"digest/app/{room}/" for room in ("approval", "calendar", "editing", "editions", "sending", "sources")),
    *(f"digest/edition/{room}/" for room in ("approval", "archive", "calendar", "drafting", "editing", "preflight")),
    *("digest/edition/edition_queries.py", "digest/deliver/control/", "digest/web/desk/"),
)
# Files whose errors are older than the two parts.
UNCONVERTED = (
    *("digest/app/doctor/", "digest/deliver/inbound/imap.py", "digest/installation/opened_installation.py"),
    *("digest/settings/", "subscribers/crypto/"),
)
FINDINGS = frozenset({"error_finding", "warning_finding"})
VERBS = frozenset(
    re.findall(
        r"\w+",
        """Add Approve Ask Call Cancel Change Check Choose Close Confirm Copy Correct Create Describe Draft Edit Email Enter Fix Give Install Invite
        Look Make Mark Move Open Put Raise Read Reload Remove Rename Replace Restore Resume Review Revoke Run Save Say See
        Select Send Set Shorten Sign Skip Store Take Try Type Update Upgrade Upload Use Wait Write""",
    )
)


class ErrorText(NamedTuple):
    """The literal parts of one error or finding; expressions in them are written as {}."""

    place: str
    message: str
    remedy: str


@cache
def _trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in SOURCES}


@cache
def _error_classes() -> frozenset[str]:
    """Return the names of ApplicationError and of the classes derived from it that take the same arguments."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not any(getattr(each, "name", "") == "__init__" for each in node.body)
    }
    names = {"ApplicationError"}
    while more := {name for name, above in bases.items() if above & names} - names:
        names |= more
    return frozenset(names)


def _write_texts(node: ast.expr | None, constants: dict[str, ast.expr]) -> list[str]:
    """Return the texts that an expression can be, if it's a literal."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)]
        case ast.IfExp(body=body, orelse=other):
            return _write_texts(body, constants) + _write_texts(other, constants)
        case ast.Name(id=name) if name in constants:
            return _write_texts(constants[name], {})
    return []


def _list_parts(node: ast.Call, constants: dict[str, ast.expr]) -> list[ast.expr]:
    """Return the expressions of the first and, if it's there, the second part."""
    args = list(node.args)
    if len(args) == 1 and isinstance(args[0], ast.Starred):  # both parts in one constant
        both = constants.get(ast.unparse(args[0].value))
        args = both.elts if isinstance(both, ast.Tuple) else []
    return [*args[:1], *args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "remedy")]


def _list_errors(*, both_parts: bool) -> list[ErrorText]:
    """List the literal texts of errors and findings that have both parts, or only the first."""
    listed = []
    for file, tree in _trees().items():
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        constants = {ast.unparse(node.targets[0]): node.value for node in assigned}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func).rpartition(".")[2] not in _error_classes() | FINDINGS:
                continue
            parts = _list_parts(node, constants)
            if len(parts) != 1 + both_parts:
                continue
            messages, *remedies = (_write_texts(part, constants) for part in parts)
            listed += [
                ErrorText(f"{file}:{node.lineno}", message, remedy)
                for message in messages
                for remedy in (remedies[0] if both_parts else [""])
            ]
    return listed


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['-]\w+)*", text.casefold())


def _find_fault(error: ErrorText) -> str:
    """Say what's wrong with an error's texts; empty if nothing is."""
    if not error.message.endswith((".", "{}")) or (error.remedy and not error.remedy.endswith((".", "{}"))):
        return "a part doesn't end with a period"
    # The purpose may come first: "To undo a change, open the history."
    instruction = re.sub(r"^To [^,]+, [a-z]", lambda start: start[0][-1].upper(), error.remedy)
    if instruction and instruction.split()[0] not in VERBS:
        return "what to do doesn't begin with a verb"
    words, advice = _words(error.message), _words(error.remedy)
    said = {tuple(words[start : start + 4]) for start in range(len(words) - 3)}
    if said & {tuple(advice[start : start + 4]) for start in range(len(advice) - 3)} or (
        advice and set(advice) <= set(words)
    ):
        return "what to do repeats what happened"
    return ""


def test_remedies_begin_with_a_verb_and_repeat_nothing() -> None:
    errors = [error for error in _list_errors(both_parts=True) if not error.place.startswith(UNCONVERTED)]
    assert len(errors) > 150
    assert [(error, fault) for error in errors if (fault := _find_fault(error))] == []


def test_errors_of_converted_rooms_say_what_to_do() -> None:
    """An error that only passes on another's text, at its end, has that one's second part."""
    only_first = [error for error in _list_errors(both_parts=False) if not error.message.endswith("{}")]
    assert [error for error in only_first if error.place.startswith(CONVERTED)] == []


@pytest.mark.parametrize(
    ("message", "remedy", "fault"),
    [
        ("The note is empty.", "Describe what should change.", ""),
        ("The note is empty.", "To send the note, describe what should change.", ""),
        ("The note is empty.", "To send the note, it needs a text.", "what to do doesn't begin with a verb"),
        ("The note is empty.", "It needs a text.", "what to do doesn't begin with a verb"),
        ("The note is empty.", "Describe what should change", "a part doesn't end with a period"),
        ("The note is empty", "Describe what should change.", "a part doesn't end with a period"),
        ("Enter the day and the time.", "Enter the day and the time again.", "what to do repeats what happened"),
        ("You have to draft it again.", "Draft it again.", "what to do repeats what happened"),
    ],
)
def test_faulty_errors_are_found(message: str, remedy: str, fault: str) -> None:
    assert _find_fault(ErrorText("x.py:1", message, remedy)) == fault
