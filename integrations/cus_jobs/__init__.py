"""Jobs: how often each ran and how it ended, so that a worker that stopped shows."""
