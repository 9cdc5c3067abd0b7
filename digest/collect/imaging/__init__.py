"""Image decoding and encoding, which run only in the sandbox."""
