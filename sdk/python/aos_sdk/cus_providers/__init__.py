"""Providers: for each of them which methods are calls, which hosts serve it, how it words its usage.

`registry` lists them; capture, the watch for calls past the SDK and `cus_usage` derive from it.
"""
