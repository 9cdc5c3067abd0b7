"""Groups of recipient domains whose email is received by the same operator.

Rate limits and stop rules treat them as one. `digest.app.sending.mail_servers` looks up the groups.
An unknown domain is alone in its group.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from digest.store.delivery_models import DomainGroupMember

# Operators whose mail servers are in different domains than their customers' addresses.
MAIL_OPERATORS = """
google.com yahoodns.net pphosted.com mimecast.com barracudanetworks.com messagelabs.com messagingengine.com protonmail.ch
emailsrvr.com secureserver.net kundenserver.de ovh.net gandi.net hostedemail.com registrar-servers.com yandex.net
"""


def select_domain_group_tag(domain_tag: Any) -> ColumnElement[str | None]:
    """Return an SQL expression for the group that a column's domain tag belongs to.

    It takes a primary-key lookup per row.
    """
    group = select(DomainGroupMember.group_tag).where(DomainGroupMember.domain_tag == domain_tag).scalar_subquery()
    return func.coalesce(group, domain_tag)


def load_domain_group_tags(session: Session, tags: Iterable[str]) -> Mapping[str, str]:
    """Return the group of each domain tag."""
    query = select(DomainGroupMember.domain_tag, DomainGroupMember.group_tag).where(
        DomainGroupMember.domain_tag.in_(list(tags))
    )
    return {tag: tag for tag in tags} | {row.domain_tag: row.group_tag for row in session.execute(query)}
