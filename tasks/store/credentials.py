"""Nothing secret goes on record: addresses and options that carry a password, a key or a signature are refused.

Settings are written to `build.json`, to Prefect's parameters and to the names of its runs. So they are looked at before
anything is written, and no message repeats what was found.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from tasks.errors import UserError

_PARTS = (
    "secret", "token", "passw", "passphrase", "pwd", "credential", "signature", "apikey", "accesskey", "accountkey",
    "sharedkey", "privatekey", "authorization", "connectionstring", "bearer", "jwt",
)  # fmt: skip
_WHOLE = ("sig", "sas", "auth", "pass", "cookie", "session", "sessionid", "jsessionid", "googleaccessid", "policy")
"""What the names of secrets hold, and what they are, in small letters only."""

_NAME_OF_VALUE = re.compile(r"(?:^|[?&;#])\s*([^?&;#=/\s]+)\s*=(?=[^&;#])")
"""Names of parameters that are given a value: in queries, fragments and connection strings."""

_HARMLESS = ("anon", "google_default", "cloud", "cache", "browser")
"""What gcsfs takes for a token and is none."""

_HOW = (
    "it would go on record. Give credentials in the environment or in fsspec's configuration files (~/.config/fsspec), "
    "and options that are no secrets as scan.storage_options"
)


def refuse_credentials(address: str) -> str:
    """`address`, where it is safe to put on record. UserError where it carries a password, a key or a signature."""
    what = _secret_in(address)
    if what:
        raise UserError(f"the address carries {what}, and {_HOW}")
    return address


def refuse_secret_options(options: Mapping[str, object]) -> None:
    """UserError for an option of a file system that is a secret by its name, or whose value carries one."""
    for name, value in options.items():
        if isinstance(value, bool) or value == "" or (name == "token" and value in _HARMLESS):
            continue
        if _is_secret(name) or (isinstance(value, str) and (_secret_in(value) or _named_in(value))):
            raise UserError(f"the option {name!r} carries a password, a key or a token, and {_HOW}")


def _secret_in(address: str) -> str | None:
    """What secret an address carries, however often it is percent-encoded; None for a local path."""
    if "://" not in unquote(address):
        return None
    for plain in _decoded(address):
        for piece in re.split(r"::(?=\w+:|/)", plain):  # fsspec chains file systems so
            scheme, mark, rest = piece.partition("://")
            if not mark or scheme == "file":
                continue
            if _user_info(scheme, re.split(r"[/?#]", rest)[0], rest):
                return "a user or a password before its host"
            if _named_in(rest):
                return "a signature, a token or a key among its parameters"
    return None


def _decoded(address: str) -> list[str]:
    """The address as it stands and decoded again and again."""
    forms = [address]
    while (plain := unquote(forms[-1])) != forms[-1]:
        forms.append(plain)
    return forms


def _user_info(scheme: str, host: str, rest: str) -> bool:
    """Whether something stands before the host. A secret key may hold a slash, so that no `@` is in sight before it."""
    if host.startswith("arn:"):  # an access point of S3
        return False
    azure = scheme.lower().startswith(("az", "abfs", "adl", "wasb"))  # container@account
    user, at, after = host.rpartition("@")
    if at:
        return ":" in user or not azure
    port = re.sub(r"^\[[^]]*\]", "", after).partition(":")[2]
    return not port.isdigit() and ":" in after and "@" in rest


def _named_in(text: str) -> bool:
    return any(_is_secret(name) for form in _decoded(text) for name in _NAME_OF_VALUE.findall(form))


def _is_secret(name: str) -> bool:
    letters = re.sub("[^a-z]", "", name.lower())
    return letters in _WHOLE or letters.endswith("key") or any(part in letters for part in _PARTS)
