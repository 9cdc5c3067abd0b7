"""Email providers, each in its own folder, where `registry` finds it."""
