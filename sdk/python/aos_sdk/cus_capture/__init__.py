"""Capture: recognises a provider's calls, runs them, reads their answers, and watches for calls past
the SDK.

Programs use `cus_middleware`, `cus_base` and the adapters; `cus_tracker` measures one call.
"""
