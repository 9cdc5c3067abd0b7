"""Lists that come in from elsewhere, and lists and records that go out."""
