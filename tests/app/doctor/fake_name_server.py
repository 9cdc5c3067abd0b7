"""A name server on loopback that answers from a table over UDP."""

import socketserver
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.conftest import WAIT_TIMEOUT
from tests.threaded_server import ServedInThread

Records = dict[tuple[str, str], list[str]]  # by name and kind, as a zone file writes the values


class FakeNameServer(ServedInThread, socketserver.ThreadingUDPServer):
    """Answers from `records` while `answering` is set; of a name that is not there it says so (NXDOMAIN), of one in `failing` that it failed."""

    daemon_threads = True

    def __init__(self, records: Records) -> None:
        super().__init__(("127.0.0.1", 0), _Question)
        self.records = records
        self.failing: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.answering = threading.Event()
        self.answering.set()

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Answer one question, once it may."""
        self.answering.wait(WAIT_TIMEOUT)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        question = query.question[0]
        name, kind = question.name.to_text().rstrip(".").lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif values := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, values))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


class _Question(socketserver.BaseRequestHandler):
    server: FakeNameServer

    def handle(self) -> None:
        data, socket = self.request
        socket.sendto(self.server.answer(dns.message.from_wire(data)).to_wire(max_size=65_000), self.client_address)
