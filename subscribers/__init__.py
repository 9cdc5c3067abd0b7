"""Subscribers: who may be emailed, what they agreed to, and where their addresses have been.

This package doesn't know about newsletters. It stores people and their consent, and computes the audience.
"""
