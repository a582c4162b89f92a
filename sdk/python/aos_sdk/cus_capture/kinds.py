"""What a request is to capture, by what the SDK learns from its method."""

from collections.abc import Mapping
from typing import Final

from aos_sdk.cus_capture.batches import CusBatchLookup, CusFileLookup
from aos_sdk.cus_capture.late_answers import CusAnswerLookup, CusResponseCall, CusSessionCall
from aos_sdk.cus_capture.surfaces import CusProviderCall
from aos_sdk.cus_providers.provider import CusRole

KINDS: Final[Mapping[CusRole, type[CusProviderCall]]] = {
    CusRole.CALL: CusProviderCall,
    CusRole.RESPONSE: CusResponseCall,
    CusRole.LATE_ANSWER: CusAnswerLookup,
    CusRole.SESSION: CusSessionCall,
    CusRole.BATCH_RESULTS: CusBatchLookup,
    CusRole.FILE: CusFileLookup,
}
