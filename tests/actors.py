"""Who acts in tests."""

from digest.installation.acts import Actor, ActorInterface, Role, terminal_actor

ADMIN = terminal_actor("eve")
EDITOR = Actor("staff 2", Role.EDITOR, ActorInterface.DESK)
