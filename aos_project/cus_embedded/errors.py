"""Errors between `make run` and a serving product. The docstring is the message."""

import inspect


class ServiceError(Exception):
    """The product could not be started."""

    def __init__(self, **facts: object) -> None:
        super().__init__(inspect.cleandoc(type(self).__doc__ or "").format(**facts))


class NotLinux(ServiceError):
    """The embedded PostgreSQL and Valkey run on Linux only.
    Point DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL at servers of your own (see .env.example).
    """


class DiskFull(ServiceError):
    """{folder} has {free_mb} MB left and the database needs {need_mb} MB.
    Free some space, or put the data elsewhere: CUS_DATA_DIR=/some/folder make run
    """


class NotOurs(ServiceError):
    """{path} belongs to another user, so this one can't use it.
    Run as the user who started the product first, or keep separate data:
    CUS_DATA_DIR=/some/folder make run
    """


class NoPlace(ServiceError):
    """PostgreSQL refuses to run as root, and its user {user!r} can't use {folder} ({reason}).
    Run as an ordinary user, or put the data where {user!r} may enter:
    CUS_DATA_DIR=/some/folder make run
    """


class SecretsLost(ServiceError):
    """{data} holds data, but {secrets}, with the passwords and keys for it, is missing.
    Put that file back. To give up the data and start afresh: make clean
    """


class SecretsIncomplete(SecretsLost):
    """{secrets} lacks {names}, without which the stored data can't be read.
    Put the file back as it was. To give up the data and start afresh: make clean
    """


class SecretsUnreadable(SecretsLost):
    """{secrets} is damaged: it should hold passwords as JSON ({reason}).
    Put the file back as it was. To give up the data and start afresh: make clean
    """


class NoDataFolder(ServiceError):
    """{path} can't be the data folder: {reason}.
    Name another folder: CUS_DATA_DIR=/some/folder make run
    """


class DidNotStart(ServiceError):
    """{name} did not start. The end of its log:
    {log}
    """


class OrphanStays(ServiceError):
    """{name} of an earlier run still uses {folder} as process {pid} and does not end.
    End it (kill -9 {pid}), then start again.
    """


class KeepsDying(ServiceError):
    """{name} died {times} times within a minute, so everything was stopped. Its last lines:
    {log}
    """


class StepFailed(ServiceError):
    """{name} failed (exit code {code}); its message is above. Nothing is running now."""


class NeverReady(ServiceError):
    """{name} was not ready after {seconds:.0f} s. Its last lines:
    {log}
    """
