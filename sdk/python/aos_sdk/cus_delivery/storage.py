"""Choose a process' buffer: a ring if possible, or else memory, with the reason."""

from aos_sdk.cus_delivery.buffer import CusBuffer, CusMemoryBuffer
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_errors import CusSpoolUnavailable


class CusStorage:
    """Opens buffers for `max_queue` records of a process, on disk if there is a spool."""

    def __init__(self, spool: CusSpool | None, max_queue: int) -> None:
        self.spool = spool
        self.max_queue = max(max_queue, 1)

    def open(self) -> tuple[CusBuffer, CusSpoolUnavailable | None]:
        """A new buffer of this process; if a ring failed, also the reason why it is in memory."""
        if self.spool is None:
            return CusMemoryBuffer(self.max_queue), None
        try:
            return self.spool.create(self.max_queue), None
        except CusSpoolUnavailable as problem:
            text = f"usage records wait in memory alone, which no killed process keeps: {problem}"
            return CusMemoryBuffer(self.max_queue), CusSpoolUnavailable(text)
