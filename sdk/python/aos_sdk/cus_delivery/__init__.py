"""Delivery: from a record or an ended call to the server's receipt, through a ring or memory.

`cus_reporter` is the door.
"""
