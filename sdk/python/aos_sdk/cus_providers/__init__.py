"""Providers: for each its methods that are calls, its hosts, and its form of usage.

`registry` lists them; capture, the watch for bypassed calls and `cus_usage` derive from it.
"""
