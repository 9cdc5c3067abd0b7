"""The keys of the edition's page, as the page about them lists them; `templates/web/desk.js` acts on them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyBinding:
    """One or more keys, and what they do. `then` are keys that follow the first: G then E."""

    keys: tuple[str, ...]
    does: str
    then: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Keys that belong together, under a title."""

    title: str
    bindings: tuple[KeyBinding, ...]


KEY_GROUPS = (
    KeyGroup(
        "Go about",
        (
            KeyBinding(("J", "K"), "next story, previous story"),
            KeyBinding(("/",), "search the week's stories"),
            KeyBinding(("V",), "the preview and what it shows"),
            KeyBinding(("G",), "Edition, Calendar, Sources, Sent, Admin", ("E", "C", "O", "T", "A")),
            KeyBinding(("G",), "Send a test, Review, History", ("S", "R", "H")),
            KeyBinding(("1", "2", "3", "4", "5", "6"), "preview: phone, wide, dark, no images, text, inbox"),
            KeyBinding(("?",), "this list; Esc closes it"),
        ),
    ),
    KeyGroup(
        "Arrange",
        (
            KeyBinding(("Alt ↑", "Alt ↓"), "one place up, one place down"),
            KeyBinding(("M",), "move to a section and place"),
            KeyBinding(("L",), "make it the lead"),
            KeyBinding(("U",), "put it under another story"),
            KeyBinding(("Shift M",), "merge another story into it"),
            KeyBinding(("P",), "pin at this place; again to let go"),
            KeyBinding(("X",), "drop; it goes to “Removed lately”"),
            KeyBinding(("C",), "copy to your clipboard"),
            KeyBinding(("A",), "add a story of the list where it fits"),
            KeyBinding(("Shift A",), "add, and ask where"),
        ),
    ),
    KeyGroup(
        "Write",
        (
            KeyBinding(("E",), "edit the story"),
            KeyBinding(("S",), "edit the subject, the preheader and the intro"),
            KeyBinding(("N",), "a story of your own: by its address, or written"),
            KeyBinding(("B",), "write a labelled block"),
            KeyBinding(("Ctrl Enter",), "save and close"),
            KeyBinding(("Esc",), "close; asks if something is not saved"),
            KeyBinding(("Z",), "undo my last act"),
            KeyBinding(("Shift Z",), "take the undo back"),
        ),
    ),
)
