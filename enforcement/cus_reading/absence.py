"""Classify a failure to read evidence as load or absence (rulings F6 and F6a).

Load refuses (`throttled`, `contention`): otherwise a client could escape its limits by keeping the
server busy. Absence lets calls run (`allowed`, degraded): customers' calls do not wait for our
repair. Every failure counts as load unless this module lists it as absence. The functions are
pure: no input, no output, no clock.
"""

import errno
import os
import re
from typing import Final, TypeAlias

# Silence is absence only if no connection of this process got an answer for so long (ruling F6a).
SILENT_SECONDS: Final = 2.0


class DatabaseTrouble(Exception):
    """Why the database did not answer a query."""


class DatabaseBusy(DatabaseTrouble):
    """The database, its connections or this process are busy: load."""


class EvidenceUnreadable(DatabaseTrouble):
    """The database answers that it can't read the evidence: absence."""


class DatabaseAbsent(DatabaseTrouble):
    """There is no connection, or no answer on any connection: absence."""


Trouble: TypeAlias = type[DatabaseTrouble]

# Prefixes of SQLSTATE: classes of two characters, or whole states.
_UNREADABLE: Final = ("42", "53100", "58")
_ABSENT: Final = ("57P01", "57P02", "57P03")
# A pooler in front of the database reports this class when the database behind it is away.
_NO_CONNECTION_CLASS: Final = "08"
_LOCK_NOT_AVAILABLE: Final = "55P03"

# libpq gives a text instead of an SQLSTATE when a connection fails. If the server answered, the
# text holds severity, colon, two spaces and the server's words, in the server's language.
_SERVER_SAYS: Final = re.compile(r"\b\w+:  (?P<words>.*)")
# The texts of 57P03 and of class 42 in English. The same texts in other languages count as load.
_STARTING_OR_STOPPING: Final = re.compile(r"the database system is ")
_NOT_PERMITTED: Final = re.compile(r"permission denied ")
# The operating system's texts for exhausted files, memory, buffers and ports of this machine.
_OUT_OF_MEANS: Final = tuple(
    os.strerror(number)
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL)
)
# The text for a full accept queue of the server: the server is busy, or hangs.
_NOT_YET: Final = os.strerror(errno.EAGAIN)


def trouble_of_answer(sqlstate: str, *, silent_seconds: float, while_reading: bool) -> Trouble:
    """The trouble behind an error that the server answered.

    `while_reading`: the error came from the statement that reads evidence. Its `lock_timeout` is
    below its `statement_timeout`, so 55P03 there means that another session locked a whole table.
    """
    if sqlstate.startswith(_ABSENT):
        return DatabaseAbsent
    if sqlstate.startswith(_UNREADABLE):
        return EvidenceUnreadable
    if sqlstate == _LOCK_NOT_AVAILABLE and while_reading:
        return EvidenceUnreadable
    if sqlstate.startswith(_NO_CONNECTION_CLASS):
        return trouble_of_silence(silent_seconds)
    return DatabaseBusy


def trouble_of_silence(silent_seconds: float) -> Trouble:
    """The trouble behind a query that got no answer in time.

    `silent_seconds`: since this process last got any answer from the database.
    """
    return DatabaseAbsent if silent_seconds > SILENT_SECONDS else DatabaseBusy


def is_answer(text: str) -> bool:
    """Whether the error text of a failed connection holds the server's own words."""
    return _SERVER_SAYS.search(text) is not None


def trouble_of_connecting(text: str, *, timed_out: bool, silent_seconds: float) -> Trouble:
    """The trouble behind a connection that could not be made, by the error's text."""
    if timed_out:
        return trouble_of_silence(silent_seconds)
    answer = _SERVER_SAYS.search(text)
    if answer:
        return _trouble_of_greeting(answer["words"])
    if any(out in text for out in _OUT_OF_MEANS):
        return DatabaseBusy
    if _NOT_YET in text:
        return trouble_of_silence(silent_seconds)
    # The connection was refused or reset, or the host's name or address can't be reached.
    return DatabaseAbsent


def _trouble_of_greeting(words: str) -> Trouble:
    if _STARTING_OR_STOPPING.match(words):
        return DatabaseAbsent
    if _NOT_PERMITTED.match(words):
        return EvidenceUnreadable
    return DatabaseBusy
