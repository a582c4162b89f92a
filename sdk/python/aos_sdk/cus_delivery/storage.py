"""Which buffer a process gets: a ring where one can be had, else memory, and why."""

from aos_sdk.cus_delivery.buffer import CusBuffer, CusMemoryBuffer
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_errors import CusSpoolUnavailable


class CusStorage:
    """Room for `max_queue` records of a process, on disk where there is a spool for them."""

    def __init__(self, spool: CusSpool | None, max_queue: int) -> None:
        self.spool = spool
        self.max_queue = max(max_queue, 1)

    def open(self) -> tuple[CusBuffer, CusSpoolUnavailable | None]:
        """A new buffer of this process; with it why it is in memory, if a ring was wanted."""
        if self.spool is None:
            return CusMemoryBuffer(self.max_queue), None
        try:
            return self.spool.create(self.max_queue), None
        except CusSpoolUnavailable as problem:
            text = f"usage records wait in memory alone, which no killed process keeps: {problem}"
            return CusMemoryBuffer(self.max_queue), CusSpoolUnavailable(text)
