"""The application for granian: the event loop receives bodies, and threads by kind run Django.

A slow body occupies no thread and ends at its deadline. Checks, ingest, signing in, other pages and
probes each have threads of their own, and the senders of a kind take turns.
"""
