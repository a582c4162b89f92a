"""Counts of tokens: read from a provider's answer, or made here where the answer has none.

`cus_usage`, `cus_token_counter` and `cus_message_tokens` are the doors.
"""
