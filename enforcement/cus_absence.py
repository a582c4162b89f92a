"""Load or absence: what a failure to read says of the database (rulings F6 and F6a).

Load refuses (`throttled`, `contention`), because nobody may buy free spend by being busy.
Absence lets calls run (`allowed`, degraded), because nobody's calls wait for our repair. So
everything counts as load unless it is listed here as absence. No input, no output, no clock.
"""

import errno
import os
import re
from typing import Final, TypeAlias

# Silence is absence only if nothing of this process got an answer for so long (ruling F6a).
SILENT_SECONDS: Final = 2.0


class DatabaseTrouble(Exception):
    """Why the database did not give what was asked."""


class DatabaseBusy(DatabaseTrouble):
    """The database, its connections or this process are busy: load."""


class EvidenceUnreadable(DatabaseTrouble):
    """The database answers, but says that it can't give what was asked: absence."""


class DatabaseAbsent(DatabaseTrouble):
    """There is no connection, or nothing but silence: absence."""


Trouble: TypeAlias = type[DatabaseTrouble]

# By SQLSTATE: classes of two characters, or whole states.
_UNREADABLE: Final = ("42", "53100", "58")
_ABSENT: Final = ("57P01", "57P02", "57P03")
# A pooler in front of the database says this class of what is behind it.
_NO_CONNECTION_CLASS: Final = "08"
_LOCK_NOT_AVAILABLE: Final = "55P03"

# libpq gives no SQLSTATE of a connection that was refused, only a text. It writes the words of
# a server that answered as severity, colon and two spaces, in whatever language.
_SERVER_SAYS: Final = re.compile(r"\b\w+:  (?P<words>.*)")
# The texts of 57P03 and of class 42. In another language they count as load.
_STARTING_OR_STOPPING: Final = re.compile(r"the database system is ")
_NOT_PERMITTED: Final = re.compile(r"permission denied ")
# What the operating system says where this machine has no more to give.
_OUT_OF_MEANS: Final = tuple(
    os.strerror(number)
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL)
)
# And where a server has not yet taken those who knocked before: it is busy, or hangs.
_NOT_YET: Final = os.strerror(errno.EAGAIN)


def trouble_of_answer(sqlstate: str, *, silent_seconds: float, while_reading: bool) -> Trouble:
    """What an error that the server answered says.

    `while_reading`: in the statement that reads evidence, whose `lock_timeout` is below its
    `statement_timeout`, so that it ends only where somebody has locked a whole table.
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
    """What it says that there was no answer in time.

    `silent_seconds`: since this process last got any answer from the database.
    """
    return DatabaseAbsent if silent_seconds > SILENT_SECONDS else DatabaseBusy


def is_answer(text: str) -> bool:
    """Whether the text of a failed connection has words of the server itself."""
    return _SERVER_SAYS.search(text) is not None


def trouble_of_connecting(text: str, *, timed_out: bool, silent_seconds: float) -> Trouble:
    """What it says that a connection could not be made, by the error's text."""
    if timed_out:
        return trouble_of_silence(silent_seconds)
    answer = _SERVER_SAYS.search(text)
    if answer:
        return _trouble_of_greeting(answer["words"])
    if any(out in text for out in _OUT_OF_MEANS):
        return DatabaseBusy
    if _NOT_YET in text:
        return trouble_of_silence(silent_seconds)
    # Refused, reset, unreachable, or a name that leads nowhere.
    return DatabaseAbsent


def _trouble_of_greeting(words: str) -> Trouble:
    if _STARTING_OR_STOPPING.match(words):
        return DatabaseAbsent
    if _NOT_PERMITTED.match(words):
        return EvidenceUnreadable
    return DatabaseBusy
