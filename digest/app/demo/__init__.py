"""The `digest demo` command: a whole week of the bundled sample, with made-up subscribers."""
