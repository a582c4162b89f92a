"""Capture: recognises a provider's calls, runs them, reads their answers, and watches for calls past
the SDK.

`cus_middleware`, `cus_base` and the adapters are the doors; `cus_tracker` measures one call.
"""
