"""Streams that are open when the program ends."""

import subprocess
import sys

import pytest

from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeCollector

PROGRAM = """
import os, signal, sys
import openai
from aos_sdk import cus_configure, cus_install_middleware
from aos_sdk.cus_delivery import exit as cus_exit
cus_exit.EXIT_SECONDS = 30.0  # a busy machine may need more than there is
cus_configure("t:i:aosk_s", sys.argv[1], batch_interval=60.0, spool_dir=SPOOL)
cus_install_middleware()
client = openai.OpenAI(api_key="k", base_url="PROVIDER/v1")
asked = {"model": "gpt-4o/slow", "messages": [{"role": "user", "content": "hello"}]}
stream = client.chat.completions.create(**asked, stream=True)
print(next(stream).choices[0].delta.content)
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
if not os.fork():
    cus_exit.send_what_waits()  # as a child of multiprocessing does
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(
    ("spool", "leaves_signals_alone"), [('"state"', True), ("None", False)], ids=["ring", "memory"]
)
def test_a_stream_that_is_open_at_the_end_is_reported_once_with_what_is_known(
    spool: str,
    leaves_signals_alone: bool,
    collector: CusFakeCollector,
    provider: CusFakeProvider,
) -> None:
    program = PROGRAM.replace("SPOOL", spool).replace("PROVIDER", provider.url)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, collector.url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (run.stdout, run.stderr) == (f"The \n{leaves_signals_alone}\n", "")
    (row,) = collector.stored.values()
    assert row["metadata"]["abandoned"] is True
    assert row["metadata"]["tokens_estimated"] is True
    assert row["tokens_in"] > 0
    assert row["tokens_out"] > 0
