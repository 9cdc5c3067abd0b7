"""Sandboxed processes that parse untrusted documents; they have no keys and can be killed."""
