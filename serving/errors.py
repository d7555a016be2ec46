"""Errors of requests in OpenAI's form: `{"error": {"message": …, "type": …, "param": …, "code": …}}`."""

import sys
import traceback
from contextlib import contextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from c3.quoting_c3 import in_one_line, printable_lines
from c3.support.errors import is_out_of_memory

TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
}
AGAIN = {"Retry-After": "1"}
REASONS = {404: "There is nothing at this address.", 405: "This address does not take this method."}


class ApiError(Exception):
    """
    What a request is answered when it cannot be served.

        raise ApiError(400, "temperature must be a number from 0 to 2, not 'hot'.", param="temperature")

    Args:
        status (`int`): of HTTP.
        message (`str`): why, and what to do; one line.
        param (`str`, *optional*): the field that is wrong.
        code (`str`, *optional*): for programs, as `"model_not_found"`.
    """

    def __init__(self, status, message, param=None, code=None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self):
        """`dict` for JSON."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": in_one_line(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self):
        """The HTTP response."""
        headers = {401: {"WWW-Authenticate": "Bearer"}, 429: AGAIN, 503: AGAIN}.get(self.status)
        return JSONResponse(self.body(), self.status, headers)


@contextmanager
def refusing(param=None):
    """Within it, `ValueError` and `TypeError` of the library about what a request holds become an `ApiError` 400."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ApiError(400, str(error), param) from error


def as_api_error(error):
    """The `ApiError` for any `Exception`; what nobody foresaw, which may name files, is not in its message."""
    if isinstance(error, ApiError):
        return error
    if is_out_of_memory(error):
        return ApiError(503, "Out of memory: ask for less at once, or again later.", code="out_of_memory")
    return ApiError(500, "The server failed; its log says why.", code="internal_error")


def logged(error):
    """As `as_api_error`; what nobody foresaw goes to standard error."""
    found = as_api_error(error)
    if found is not error:
        print(printable_lines("".join(traceback.format_exception(error))), file=sys.stderr)
    return found


def add_error_handlers(app: FastAPI):
    """Has an app answer all errors in OpenAI's form."""

    @app.exception_handler(ApiError)
    async def refuse(request: Request, error: ApiError):
        return error.response()

    @app.exception_handler(HTTPException)
    async def refuse_address(request: Request, error: HTTPException):
        return ApiError(error.status_code, REASONS.get(error.status_code, str(error.detail))).response()

    @app.exception_handler(Exception)
    async def say_failed(request: Request, error: Exception):
        return as_api_error(error).response()  # the server itself logs it
