"""The price table beside the newest prices that two well-kept collections publish.

A weekly update of prices edits data only: `make prices-diff` prints what differs, then the table
(`sdk/python/aos_sdk/cus_prices.json`) or the explanations (`explained.json` beside this) follow.
"""
