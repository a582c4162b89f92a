"""A mail server on the loopback that keeps what it is given."""

import socketserver

from tests.cus_local_server import Served

_CODES = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}


class MailSink(Served):
    """Accepts mails for every address. `mails` are the mails so far, whole."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        mails = self.mails

        class Conversation(socketserver.StreamRequestHandler):
            timeout = 30

            def handle(self) -> None:
                self.wfile.write(b"220 sink\r\n")
                while line := self.rfile.readline():
                    verb = line[:4].upper().strip()
                    self.wfile.write(_CODES.get(verb, b"250 ok\r\n"))
                    if verb == b"QUIT":
                        return
                    if verb == b"DATA":
                        mails.append(self._mail())
                        self.wfile.write(b"250 kept\r\n")

            def _mail(self) -> str:
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line)
                return b"".join(lines).decode(errors="replace")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Conversation)
        super().__init__(self._server)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def count(self, address: str) -> int:
        """How many mails to this address came so far."""
        return sum(f"\nTo: {address}\r" in f"\n{mail}" for mail in list(self.mails))
