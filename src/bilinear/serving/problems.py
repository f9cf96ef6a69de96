"""Errors of requests: one code, one HTTP status, one sentence."""

from __future__ import annotations

from bilinear.errors import BilinearError


class Refused(BilinearError):
    """A request that cannot be answered as it is; `status` is HTTP's, `code` is for programs."""

    status = 400
    code = "bad_request"

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class NotFound(Refused):
    """An item, a user or a rating that is not there."""

    status = 404
    code = "not_found"


class Conflict(Refused):
    """The model that is served, or the state of the server, does not allow it."""

    status = 409
    code = "conflict"


class StoreUnavailable(Refused):
    """The feedback store did not take or give; nothing was acknowledged. Try again."""

    status = 503
    code = "store_unavailable"
