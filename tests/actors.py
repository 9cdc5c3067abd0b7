"""The people who act in tests."""

from digest.installation.audited_actions import ActionEntryPoint, Actor, Role, make_terminal_actor

ADMIN = make_terminal_actor("eve")
EDITOR = Actor("staff 2", Role.EDITOR, ActionEntryPoint.DESK)
