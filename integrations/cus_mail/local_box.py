"""Mails of a product on one machine without a mail server: files, which operators read in the console.

A file may hold a link with which a person sets a password, as the mail itself does.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage as StoredMessage
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage as Mail
from django.core.mail.backends.base import BaseEmailBackend

# Older files are deleted.
MOST_KEPT = 200
_numbers = itertools.count()


@dataclass(frozen=True)
class LocalMail:
    """A mail as it was written."""

    subject: str
    to: str
    sent_at: datetime | None
    text: str


class CusLocalBox(BaseEmailBackend):
    """Writes each mail to a file of the folder `CUS_LOCAL_MAIL_FOLDER`, for its owner alone."""

    def send_messages(self, email_messages: Sequence[Mail]) -> int:
        """Write the mails; return their number. Raises OSError."""
        folder = Path(settings.CUS_LOCAL_MAIL_FOLDER)
        folder.mkdir(mode=0o700, exist_ok=True)
        for mail in email_messages:
            path = folder / f"{time.time_ns():020}-{next(_numbers)}.eml"
            path.touch(mode=0o600)
            path.write_bytes(mail.message().as_bytes())
        for old in _newest_first(folder)[MOST_KEPT:]:
            old.unlink(missing_ok=True)
        return len(email_messages)


def local_mails() -> Iterator[LocalMail]:
    """The mails that are kept, newest first."""
    for path in _newest_first(Path(settings.CUS_LOCAL_MAIL_FOLDER)):
        # A worker may delete an old file meanwhile.
        if data := path.read_bytes() if path.exists() else b"":
            yield _read(message_from_bytes(data, policy=policy.default))


def _read(mail: StoredMessage) -> LocalMail:
    date = mail["date"]
    body = mail.get_body(("plain",))
    return LocalMail(
        subject=str(mail["subject"]),
        to=str(mail["to"]),
        sent_at=date.datetime if date else None,
        text=str(body.get_content()) if body else "",
    )


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.eml"), reverse=True)
