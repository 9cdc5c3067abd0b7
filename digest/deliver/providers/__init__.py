"""The providers. Each has its own folder, where `registry` finds it."""
