"""Receiving domains whose email is taken by the same operator's servers: limits and stop rules count them as one.

`digest.app.sending.mail_servers` looks the groups up; a domain that it doesn't know is alone.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, select

from digest.store.delivery_models import DomainGroup


def group_tag_of(domain_tag: Any) -> ColumnElement[str | None]:
    """Return the group of a column's domain tag, as an expression: one lookup by primary key a row."""
    group = select(DomainGroup.group_tag).where(DomainGroup.domain_tag == domain_tag).scalar_subquery()
    return func.coalesce(group, domain_tag)
