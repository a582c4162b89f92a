"""What people read of usage: records, and figures of hours, days and groups."""
