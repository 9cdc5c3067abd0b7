"""The tables, the database engine, and shared queries."""
