"""Subscribers: who may be emailed, what they agreed to, and where their addresses have been.

This package knows nothing of newsletters. It stores people and their consent, and computes the audience.
"""
