"""Addresses and options that carry a secret are refused, and no message repeats it."""

import pytest

from schemas.credentials import is_secret, leaking_option
from tasks.errors import UserError
from tasks.store.folder import Folder
from tasks.store.places import refuse_credentials

SECRET = "hunter2"

LEAKING = [
    f"s3://AKIA:{SECRET}@bucket/raw",
    f"s3://AKIA:{SECRET}/and+slash@bucket/raw",
    f"s3://AKIA%3A{SECRET}%40bucket/raw",
    f"s3://AKIA%253A{SECRET}%2540bucket/raw",
    f"https://{SECRET}@host/raw",
    f"https://me:{SECRET}@host:8080/raw",
    f"sftp://me:{SECRET}@host/raw",
    f"abfs://box:{SECRET}@account.dfs.core.windows.net/raw",
    f"simplecache::s3://AKIA:{SECRET}@bucket/raw",
    f"zip://a.mp4::https://me:{SECRET}@host/a.zip",
    f"https://host/a.mp4?X-Amz-Date=1&X-Amz-Signature={SECRET}",
    f"https://host/a.mp4?x%2Damz%2Dsignature={SECRET}",
    f"https://host/a.mp4?sv=1&sig={SECRET}",
    f"https://host/a.mp4?a=1;token={SECRET}",
    f"https://host/a.mp4#access_token={SECRET}",
    f"https://host/a.mp4?Expires=1&Signature={SECRET}&Key-Pair-Id=K",
    f"https://host/get?url=https%3A%2F%2Fother%2Fa%3Fsig%3D{SECRET}",
    f"s3://bucket/a.mp4?X-Amz-Security-Token={SECRET}",
    f"az://box/a.mp4?SIG={SECRET}",
    f"https://host/a.mp4?apiKey={SECRET}",
    f"HTTPS://host/a.mp4?api_key={SECRET}",
]

PLAIN = [
    "raw",
    "/data/me:x@y/raw",
    "/data/a?token=b",
    "file:///data/a%3Ftoken%3Db",
    "s3://bucket/a@b/c:d.mp4",
    "s3://bucket/key=1/token=2/a.mp4",
    "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/mine/raw",
    "abfs://box@account.dfs.core.windows.net/raw",
    "abfss://box@account.dfs.core.windows.net/raw",
    "az://box/raw",
    "https://host:8080/a.mp4?part=3&sv=1",
    "https://[::1]:8080/a@b.mp4",
    "hf://datasets/me/set@main/raw",
    "simplecache::https://host/a.mp4",
    "memory://raw",
]


OPTIONS: list[dict[str, object]] = [
    {"secret": SECRET},
    {"key": SECRET},
    {"KEY": SECRET},
    {"Password": SECRET},
    {"token": SECRET},
    {"secret_access_key": SECRET},
    {"secretAccessKey": SECRET},
    {"accountKey": SECRET},
    {"sas_token": SECRET},
    {"aws-session-token": SECRET},
    {"passwd": 12345},
    {"client_secret": SECRET},
    {"pwd": SECRET},
    {"connection_string": f"AccountKey={SECRET}"},
    {"account": f"Name=a;AccountKey={SECRET}"},
    {"endpoint_url": f"https://me:{SECRET}@host"},
    {"proxy": f"http://host/?token={SECRET}"},
]


@pytest.mark.parametrize("address", LEAKING)
def test_an_address_with_credentials_is_refused_without_repeating_them(address):
    for refuse in (refuse_credentials, Folder):
        with pytest.raises(UserError, match="environment") as error:
            refuse(address)
        assert SECRET not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("address", PLAIN)
def test_plain_addresses_pass(address):
    assert refuse_credentials(address) == address


@pytest.mark.parametrize("options", OPTIONS)
def test_options_that_are_secrets_are_found(options):
    for given in (options, {"anon": True} | options, {"key": "", "port": 22} | options):
        assert leaking_option(given) == next(iter(options))


def test_options_that_are_none_pass():
    options = {"anon": True, "endpoint_url": "https://host:9000", "username": "me", "port": 22, "key_filename": "k",
               "token": "anon", "key": "", "use_ssl": False}  # fmt: skip
    assert leaking_option(options) is None


@pytest.mark.parametrize("name", ["hf_token", "access_key", "passwd", "session_cookie", "X-Amz-Signature"])
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["max_tokens", "stop_token_ids", "thinking_token_budget", "prompt_cache_key", "top_k"])
def test_names_that_only_look_like_it(name):
    assert not is_secret(name)
