"""What granian serves: bodies are received by the event loop, Django runs on threads by kind.

A body that trickles in occupies no thread and ends at its deadline. Checks, ingest, signing in,
other pages and probes have threads of their own each, and callers of a kind take turns.
"""
