"""Sandboxed processes that parse untrusted documents. They have no keys and can be killed."""
