"""The quick ways say what the general ones say, whatever they are given.

A plain answer's usage, a stream's chunks and a call's record are each read or written in a hurry;
here each meets the slow way, on objects of the packages' own classes as their clients make them.
"""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import anthropic.types as at
import anthropic.types.beta as ab
import openai.types as ot
import openai.types.chat as oc
import openai.types.responses as orr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import BaseModel
from openai._models import construct_type

from aos_sdk import CusCallTracker, CusReporter, CusReportedUsage, CusStreamUsage, CusTokenUsage
from aos_sdk.cus_buffer import CusEntry, CusMemoryBuffer
from aos_sdk.cus_ring_codec import encode_any, encode_call
from aos_sdk.cus_stream_text import gather_json_text, read_events
from aos_sdk.cus_usage import _bearer, _get, _openai, _plain_chat

COUNTS = st.one_of(
    st.integers(0, 3),
    st.integers(-1, 2**33),
    st.sampled_from([None, True, False, 1.0, "7", [], {}]),
)
