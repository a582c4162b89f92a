"""`make bench-reads`: every read of API and console over millions of rows of evidence."""
