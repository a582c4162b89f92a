"""The sixth way to capture: requests to providers by plain HTTP clients, recorded at the transport.

One file for each client library. Off by default: `cus_install_middleware(patch_http=True)`.
"""
