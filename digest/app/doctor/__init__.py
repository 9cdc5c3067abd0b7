"""The `digest doctor` command: checks that find problems before they do harm.

Each check has a name, a meaning, and a remedy.
"""
