"""The people who act in tests."""

from digest.installation.audited_actions import ActionEntryPoint, Actor, Role, terminal_actor

ADMIN = terminal_actor("eve")
EDITOR = Actor("staff 2", Role.EDITOR, ActionEntryPoint.DESK)
