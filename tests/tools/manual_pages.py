"""Create manual pages (man(7)) for a command line made with click: one per command and group."""

import inspect
from collections.abc import Iterator

import click

_SECTION = "1"


def list_contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield the context of a command and of all commands below it."""
    context = click.Context(command, info_name=name, parent=parent)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            subcommand = command.get_command(context, below)
            assert subcommand is not None
            yield from list_contexts(subcommand, below, context)


def name_page(context: click.Context) -> str:
    """Return the name of a command's page, such as `digest-subscribers-import`."""
    return context.command_path.replace(" ", "-")


def write_page(context: click.Context, version: str) -> str:
    """Return the page of a command as roff."""
    command, name = context.command, name_page(context)
    title = f'.TH "{name.upper()}" {_SECTION} "" "hls-digest {version}" "hls-digest"'
    pieces = " ".join(command.collect_usage_pieces(context))
    parts = [title, ".ad l", ".SH NAME", _escape(f"{name} - {command.get_short_help_str(limit=200)}")]
    parts += [".SH SYNOPSIS", f".B {_escape(context.command_path)}", _escape(pieces).replace("|", r"|\:")]
    parts += [".SH DESCRIPTION", *_write_paragraphs(command.help or "")]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    parts += [".SH OPTIONS", *_write_definitions(record for record in records if record)]
    if isinstance(command, click.Group):
        parts += [".SH COMMANDS", *_write_definitions(_list_subcommands(context, command))]
    if command.epilog:
        parts += [".SH NOTES", *_write_paragraphs(command.epilog)]
    return "\n".join([*parts, ""])


def _list_subcommands(context: click.Context, group: click.Group) -> Iterator[tuple[str, str]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{name_page(context)}-{name}({_SECTION})", command.get_short_help_str(limit=200)


def _write_paragraphs(text: str) -> Iterator[str]:
    """Yield a text's paragraphs; the lines of one that begins with click's \\b stay as they are."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", _escape(paragraph.removeprefix("\b\n")), ".fi")
        else:
            yield _escape(paragraph)


def _write_definitions(records: "Iterator[tuple[str, str]]") -> Iterator[str]:
    for term, meaning in records:
        yield from (".TP", rf"\fB{_escape(term)}\fR", _escape(meaning))


def _escape(text: str) -> str:
    """Escape what roff would take for its own: backslashes, hyphens, and a control character at the start of a line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())
