"""The reads that `make bench-reads` measures are answered. How fast they are, no test says."""

from datetime import timedelta

import pytest

from benchmarks.cus_reads.reads import api_reads, console_pages
from benchmarks.cus_reads.rollups import rollups
from benchmarks.cus_reads.world import make_world

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def test_every_read_that_is_measured_is_answered() -> None:
    world = make_world(600, span=timedelta(hours=3))
    reads = [*api_reads(world, pages=2), *console_pages(world)]
    answers = {read.name: read.client.get(read.addresses[0]).status_code for read in reads}
    assert set(answers.values()) == {200}, answers
    assert len(reads) > 40
    assert [row[0] for row in rollups([24]).rows] == ["24"]
