"""The tables, the engine, and what queries share."""
