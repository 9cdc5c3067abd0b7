"""Image decoding and encoding, which only run in the sandbox."""
