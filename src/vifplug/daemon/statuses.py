"""Which HTTP status (RFC 9110) an error travels under; the error itself is in the body."""

from __future__ import annotations

from ..errors import VifplugError

#: by the error's code; what is not here is 500
_STATUSES = {
    "invalid_input": 400,
    "unsupported_vif_type": 400,
    "bad_details": 400,
    "verb_not_supported": 400,
    "not_allowed": 403,
    "script_not_trusted": 403,
    "not_plugged": 404,
    "no_such_route": 404,
    "method_not_allowed": 405,
    "device_taken": 409,
    "vif_in_use": 409,
    "update_refused": 409,
    "undo_incomplete": 409,
    "too_large": 413,
    "too_busy": 429,
    "script_not_found": 424,
    "failed": 502,
    "bad_reply": 502,
    "backend_unavailable": 502,
    "busy": 503,
    "retry_later": 503,
    "stopping": 503,
    "timed_out": 504,
    "disk_full": 507,
}

ALL = sorted({*_STATUSES.values(), 500})


def status_of(error: VifplugError) -> int:
    return _STATUSES.get(error.code, 500)
