"""Who may be mailed, by which words of theirs, and where their address has been.

This package knows nothing of newsletters: it holds people, their consent and the audience.
"""
