"""Twenty-one reset mails to one person, and whether the web server itself sent any."""

import time

from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.people import Person
from tests.trust.cus_abuse.product import AttackedProduct, settle

_ASKED = 21
# A person who lost a password asks again once or twice.
_MOST_MAILS = 10
_WORKING_SECONDS = 60.0


def reset_mails(product: AttackedProduct, size: Size) -> Outcome:
    """Ask 21 times for a new password of one person; then let jobs run."""
    tenant = product.new_tenant()
    address = tenant["admin"]["email"]
    asker, started = Person(product.port), time.monotonic()
    statuses = {
        asker.submit("/admin/password_reset/", {"email": address}).status for _ in range(_ASKED)
    }
    seconds = time.monotonic() - started
    settle()
    at_once = product.mail.count(address)
    waits = size.in_full and at_once < _ASKED
    later = _after_jobs(product, address, size) if waits else at_once
    findings = []
    if statuses - {302, 429}:
        findings.append(f"the page answered {sorted(statuses)}")
    if at_once:
        findings.append(f"{at_once} mails were sent while no job ran: by the web server")
    if later > _MOST_MAILS:
        findings.append(f"{later} mails were sent to one person")
    if waits and not later:
        findings.append("no mail was sent, though one was due")
    figures = (
        f"{_ASKED} asked for in {seconds:.1f} s: {at_once} sent by the web server,"
        f" {later} sent in all"
    )
    return Outcome(figures, findings)


def _after_jobs(product: AttackedProduct, address: str, size: Size) -> int:
    """How many mails came once jobs ran, and no more of them came for a while."""
    with product.working():
        deadline = time.monotonic() + size.seconds(_WORKING_SECONDS, 20.0)
        while time.monotonic() < deadline and not product.mail.count(address):
            time.sleep(0.2)
        settle(5.0)
    return product.mail.count(address)
