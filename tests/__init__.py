"""The tests."""

from hypothesis import settings

# No test depends on how fast a machine is; by default an example may take 200 ms.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")
