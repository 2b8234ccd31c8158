"""Nothing secret goes on record: what tells addresses and options that carry a password, a key or a signature.

Settings are written to `build.json`, to Prefect's parameters and the names of its runs, to a run's `config.yaml` and to
what logs it. So they are looked at before anything is written, and no message repeats what was found.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

_PARTS = (
    "secret", "token", "passw", "passphrase", "pwd", "credential", "signature", "apikey", "accesskey", "accountkey",
    "sharedkey", "privatekey", "authorization", "connectionstring", "bearer", "jwt", "cookie",
)  # fmt: skip
_WHOLE = ("sig", "sas", "auth", "pass", "session", "sessionid", "jsessionid", "googleaccessid", "policy")
"""What the names of secrets hold, and what they are, in small letters only."""

_NAME_OF_VALUE = re.compile(r"(?:^|[?&;#])\s*([^?&;#=/\s]+)\s*=(?=[^&;#])")
"""Names of parameters that are given a value: in queries, fragments and connection strings."""

_HARMLESS = ("anon", "google_default", "cloud", "cache", "browser")
"""What gcsfs takes for a token and is none."""

_PLAIN = re.compile(r"tokens|token_(ids?|budget)|cache_key", re.IGNORECASE)
"""Of text, as requests to language models name them: `max_tokens`, `stop_token_ids`, `prompt_cache_key`."""


def leaking_option(options: Mapping[str, object]) -> str | None:
    """The first option that is a secret by its name, or whose value carries one; None where none does."""
    for name, value in options.items():
        if isinstance(value, bool) or value == "" or (name == "token" and value in _HARMLESS):
            continue
        if is_secret(name) or (isinstance(value, str) and (secret_in(value) or _named_in(value))):
            return name
    return None


def secret_in(address: str) -> str | None:
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
    return any(is_secret(name) for form in _decoded(text) for name in _NAME_OF_VALUE.findall(form))


def is_secret(name: str) -> bool:
    """Whether what is called so is one."""
    letters = re.sub("[^a-z]", "", _PLAIN.sub("", name).lower())
    return letters in _WHOLE or letters.endswith("key") or any(part in letters for part in _PARTS)
