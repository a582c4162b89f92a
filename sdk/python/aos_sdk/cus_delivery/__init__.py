"""Delivery: from a record or an ended call to the server's receipt, through a ring or memory.

Programs use `cus_reporter`.
"""
