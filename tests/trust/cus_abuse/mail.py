"""A mail server on the loopback that keeps what it is given."""

import socketserver
import threading
from types import TracebackType
from typing import Self

_CODES = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}


class MailSink:
    """Takes mails for anybody. `mails` are those that came so far, whole."""

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
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def count(self, address: str) -> int:
        """How many mails to this address came so far."""
        return sum(f"\nTo: {address}\r" in f"\n{mail}" for mail in list(self.mails))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
