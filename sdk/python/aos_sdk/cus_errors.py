"""Every exception of the SDK.

CusError
├── CusConfigurationError      no usable key or address: the reporter stays inert
├── CusSpoolRefused            `doctor --adopt`: a folder's records can't be taken over
├── CusProviderError           an adapter was asked for what it cannot do; no call was made
├── CusLimitExceeded           the only one that a captured call may raise in the host
└── CusDeliveryError           never raised at the host: handed to `on_error`
    ├── CusDeliveryDelayed     the server cannot be reached or asks to wait; records are kept
    ├── CusKeyRefused          the server refuses the key; records are kept
    ├── CusSpoolUnavailable    no folder can hold the spool: records wait in memory alone
    └── CusRecordRefused       the server refuses one record for good
CusUnknownModel (ValueError)   is a part of the prices, which import nothing else of ours
"""


class CusError(Exception):
    """Base of the SDK's own exceptions."""


class CusConfigurationError(CusError):
    """The SDK cannot report with this configuration; the message says what to change."""


class CusSpoolRefused(CusError):
    """The records of a folder can't be taken over; the text says why. All of them stay there."""


class CusProviderError(CusError):
    """An adapter can't do this; it made no call."""


class CusLimitExceeded(CusError):
    """A limit of the integration stops this call."""


class CusDeliveryError(CusError):
    """A problem with sending telemetry, for `on_error`."""


class CusDeliveryDelayed(CusDeliveryError):
    """Telemetry cannot be delivered now; it is kept and tried again."""


class CusKeyRefused(CusDeliveryError):
    """The server refuses the integration key; telemetry is kept and tried again every minute."""


class CusSpoolUnavailable(CusDeliveryError):
    """Records wait in memory alone, and are lost if the process is killed; the text says why."""


class CusRecordRefused(CusDeliveryError):
    """The server will not store this record: `status` is `rejected` or `conflict`.

    `attr` names the field, `code` and `detail` the reason, in the server's words.
    """

    def __init__(self, call_id: str, status: str, code: str, detail: str, attr: str) -> None:
        super().__init__(f"usage record {call_id} was {status}: {detail or code}")
        self.call_id = call_id
        self.status = status
        self.code = code
        self.detail = detail
        self.attr = attr
