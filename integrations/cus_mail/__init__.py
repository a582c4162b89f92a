"""Mail: queued in a transaction, sent by a job."""
