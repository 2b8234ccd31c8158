"""Calls to file systems of elsewhere: made again where the failure passes, and every failure told in our own words.

Libraries behind fsspec raise types of their own (botocore, aiohttp, gcsfs, azure), and a ValueError where a server
answers nonsense. Whatever a call raises leaves here as one of these, with one line of text:
- FileNotFoundError, PermissionError, FileExistsError: what the store says of one file, each with its `errno`;
- StopRun: credentials that are missing, refused or expired, which every other file would meet too;
- InfrastructureError: all else (overload, broken connections, time-outs), after some tries where it may pass.
"""

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from schemas.text import one_line
from tasks.errors import InfrastructureError, StopRun, UserError

T = TypeVar("T")

TRIES = 4
"""Calls at most where the failure may pass; the libraries below try a few times on their own in each."""

FIRST_WAIT_S = 0.5
"""Before the second call; twice as long before each later one."""

PATIENCE_S = 90.0
"""No call is begun later than this after the first: a server that answers nothing costs a time-out in each."""

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP answers of a server that may do better soon. 409: another conditional write is under way (S3)."""

_PASSING_CODES = frozenset({"SlowDown", "NoSuchUpload"})
"""What S3 calls it. An upload is not there any more where the answer to its end was lost, and the end asked again."""

_PASSING_ERRNOS = frozenset({
    errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED,
    errno.ECONNREFUSED, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN,
})  # fmt: skip

_PASSING_NAMES = frozenset({
    "HTTPClientError", "IncompleteRead", "IncompleteReadError", "ResponseParserError", "ClientConnectionError",
    "ClientPayloadError", "ServerDisconnectedError", "ServiceRequestError", "ServiceResponseError",
    "ChunkedEncodingError", "ConnectionError", "TimeoutError", "Timeout", "ChecksumError", "FlexibleChecksumError",
})  # fmt: skip
"""Classes of Python, botocore, aiohttp, azure, requests and gcsfs, most of which need not be installed."""

_CREDENTIAL_CODES = frozenset({
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired",
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidSecurity", "NotSignedUp",
    "AuthenticationFailed", "InvalidAuthenticationInfo",
})  # fmt: skip

_CREDENTIAL_NAMES = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "SSOError",
    "GoogleAuthError", "ClientAuthenticationError",
})  # fmt: skip


class ChangedError(FileNotFoundError):
    """The file that was listed or opened is no more: another lies under its name by now."""

    def __init__(self, shown: str) -> None:
        super().__init__(errno.ENOENT, "it has changed meanwhile", shown)


class BrokenOffError(ConnectionError):
    """A body ended before all that was promised had come."""

    def __init__(self, shown: str, what: str = "the connection broke off") -> None:
        super().__init__(errno.ECONNRESET, what, shown)


def tried(shown: str, work: Callable[[], T], renew: Callable[[], object] | None = None) -> T:
    """What `work` gives, a call into a library behind fsspec. It may be made several times, so it must be harmless to.

    shown: the file, for messages. renew: looks for fresh credentials, once, where those at hand are refused.
    Raises as the module says; UserError and MemoryError as they are.
    """
    began = time.monotonic()
    for number in range(1, TRIES + 1):
        try:
            return work()
        except (UserError, MemoryError):
            raise
        except Exception as error:  # whatever a library raises: nothing of ours runs within
            refused = _credentials(error)
            again = number < TRIES and time.monotonic() - began < PATIENCE_S
            if refused and renew is not None and again:
                tried(shown, renew)
                renew = None
            elif refused or not (again and passes(error)):
                raise told(shown, error) from error
            else:
                time.sleep(FIRST_WAIT_S * 2 ** (number - 1))
    raise AssertionError("the last try returns or raises")


def told(shown: str, error: Exception) -> Exception:
    """`error` of a library as one of ours."""
    if isinstance(error, ChangedError | InfrastructureError):
        return error
    text = one_line(f"{type(error).__name__}: {error}", 300)
    status, _ = _answer(error)
    names = _names(error)
    if _credentials(error):
        return StopRun(
            f"{shown}: the store refuses the credentials, or there are none ({text}); renew them and run again"
        )
    if "FileExpired" in names:
        return ChangedError(shown)
    if names & {"FileExistsError", "ResourceExistsError"} or status == 412:
        return FileExistsError(errno.EEXIST, "it is there already", shown)
    if passes(error):  # before what follows: fsspec's web calls whatever it meets "not found"
        return InfrastructureError(f"{shown}: {text}")
    # gcsfs has no type for it, aiohttp one for all answers.
    if "PermissionError" in names or status in (401, 403) or str(error).startswith("Forbidden"):
        return PermissionError(errno.EACCES, "the store does not allow it", shown)
    if names & {"FileNotFoundError", "ResourceNotFoundError"} or status in (404, 410):
        return FileNotFoundError(errno.ENOENT, "it is not there", shown)
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return type(error)(error.errno or errno.EISDIR, "it is not a file", shown)
    return InfrastructureError(f"{shown}: {text}")


def forbidden_without_a_word(error: Exception) -> bool:
    """Whether a store refused to say what a file is, and why: an answer to HEAD has no body to hold a reason."""
    return _answer(error) in ((403, "403"), (400, "400"), (403, ""), (400, ""))


def passes(error: Exception) -> bool:
    """Whether the failure of a library may be over soon."""
    if isinstance(error, InfrastructureError | ChangedError):  # it has been tried
        return False
    if _names(error) & _PASSING_NAMES:
        return True
    status, code = _answer(error)
    if status is not None:
        return status in _PASSING or code in _PASSING_CODES
    return any(isinstance(one, OSError) and one.errno in _PASSING_ERRNOS for one in _chain(error))


def _credentials(error: Exception) -> bool:
    status, code = _answer(error)
    google = type(error).__module__.startswith("gcsfs")
    return code in _CREDENTIAL_CODES or bool(_names(error) & _CREDENTIAL_NAMES) or (google and status == 401)


def _answer(error: Exception) -> tuple[int | None, str]:
    """The status of the HTTP answer behind a failure, and what the store itself calls it."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, Mapping):  # botocore
            code = str(response.get("Error", {}).get("Code", ""))
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), code
        for field in ("status", "status_code", "code"):  # aiohttp, azure, gcsfs
            status = getattr(one, field, None)
            if isinstance(status, int | str) and str(status).isdigit():
                return int(status), str(getattr(one, "error_code", None) or "")
    return None, ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _names(error: Exception) -> set[str]:
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
