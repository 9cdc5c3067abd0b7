"""Who acts in tests."""

from digest.installation.acts import Actor, Face, Role, terminal_actor

ADMIN = terminal_actor("eve")
EDITOR = Actor("staff 2", Role.EDITOR, Face.DESK)
