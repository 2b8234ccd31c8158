"""What the pages refuse: strangers, forged tokens, foreign sites, odd paths, large requests, scripts in texts."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import web
from tests.web.places import Place
from web.guard import LARGEST, POLICY, Guard
from web.serve import config_of
from web.shortcuts import SHORTCUTS

BAD = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("attacks"), clips=2, note=BAD)
    yield made
    made.journal.close()


@pytest.fixture(scope="module")
def ann(place):
    return place.person("ann")


def stranger(place) -> TestClient:
    return TestClient(place.app, follow_redirects=False)


def test_strangers_and_forged_tokens_get_nothing(place):
    client, key = stranger(place), place.keys[0]
    for path in ("/", "/next", f"/clip/{key}", f"/api/clip/{key}", f"/media/{key}.mp4", f"/strip/{key}.jpg", "/people"):
        assert client.get(path).status_code == 401, path
    assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
    client.cookies.set("matrix_session", "forged")
    assert client.get("/").status_code == 401
    assert client.post("/login", content="token=forged").status_code == 403
    assert client.post(f"/api/clip/{key}/claim").status_code == 401


def test_tokens_cannot_be_guessed_for_long(tmp_path):
    place = Place(tmp_path, clips=1)
    client = stranger(place)
    codes = [client.post("/login", content=f"token={n}").status_code for n in range(12)]
    assert codes == [403] * 10 + [429] * 2
    place.journal.close()


def test_a_request_of_another_site_is_refused(place, ann):
    key = place.keys[0]
    assert ann.post(f"/api/clip/{key}/claim", **{"x-csrf": "wrong"}).status_code == 403
    assert ann.client.post(f"/api/clip/{key}/claim").status_code == 403
    login = ann.client.post("/login", content=f"token={ann.token}", headers={"origin": "http://evil.example"})
    assert login.status_code == 403
    assert ann.client.get("/", headers={"host": "evil.example"}).status_code == 421, (
        "a name bound to loopback elsewhere"
    )


def behind(place, *proxies: str, address: str = "127.0.0.1") -> TestClient:
    """Somebody whose requests come from `address`, as uvicorn hands them on where these proxies are trusted."""
    config = config_of(place.app, proxies)
    config.load()
    return TestClient(config.loaded_app, base_url="http://testserver", client=(address, 4000), follow_redirects=False)


FORWARDED = {"x-forwarded-proto": "https", "origin": "https://testserver"}


def test_a_proxy_with_tls_is_believed_where_it_is_named(place):
    login = {"content": f"token={place.journal.invite('tess', 'reviewer')}", "headers": FORWARDED}
    let_in = behind(place, "127.0.0.1").post("/login", **login)
    assert let_in.status_code == 303 and "secure" in let_in.headers["set-cookie"].lower()
    assert behind(place, "10.0.0.0/8", address="10.1.2.3").post("/login", **login).status_code == 303
    plain = {"content": login["content"], "headers": {"origin": "http://testserver"}}
    assert "secure" not in behind(place).post("/login", **plain).headers["set-cookie"].lower()
    for stranger_to_us in (behind(place), behind(place, "10.0.0.1"), behind(place, "127.0.0.1", address="192.0.2.1")):
        refused = stranger_to_us.post("/login", **login)
        assert refused.status_code == 403 and "--proxy" in refused.json()["detail"]
    evil = behind(place, "127.0.0.1").post(
        "/login", **login | {"headers": FORWARDED | {"origin": "https://evil.example"}}
    )
    assert evil.status_code == 403 and "--proxy" not in evil.json()["detail"]


def test_behind_a_proxy_one_persons_tries_do_not_use_up_anothers(tmp_path):
    place = Place(tmp_path, clips=1)

    def tries(client: TestClient, who: str) -> list[int]:
        sent = {"content": "token=made-up", "headers": FORWARDED | {"x-forwarded-for": who}}
        return [client.post("/login", **sent).status_code for _ in range(11)]

    proxied = behind(place, "127.0.0.1")
    assert tries(proxied, "192.0.2.1") == [403] * 10 + [429]
    assert tries(proxied, "192.0.2.2")[0] == 403
    alone = behind(place)
    made_up = [alone.post("/login", content="token=x", headers={"x-forwarded-for": f"192.0.2.{n}"}) for n in range(11)]
    assert made_up[-1].status_code == 429, "without a proxy nobody makes up an address of his own"
    place.journal.close()


def test_roles_hold_and_end_at_once(place):
    reader, key = place.person("rea", "reader"), place.keys[0]
    assert reader.client.get(f"/clip/{key}").status_code == 200
    assert reader.claim(key).status_code == 403 and reader.client.get("/next").status_code == 403
    place.journal.dismiss("rea")
    assert reader.client.get("/").status_code == 401


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fetc%2fpasswd", "../../build.json", "0" * 16, "A" * 16, "%00" * 4, "a" * 17, "'; drop table users"],
)
def test_no_name_leads_out_of_the_queue(ann, name):
    for path in ("/media/{}.mp4", "/strip/{}.jpg", "/api/clip/{}", "/clip/{}", "/static/../../{}"):
        assert ann.client.get(path.format(name)).status_code in (404, 422), path


def test_large_and_many_requests_are_refused(place, ann):
    big = ann.client.post(
        f"/api/clip/{place.keys[0]}/patch", content=b"x" * (LARGEST + 1), headers={"x-csrf": ann.csrf}
    )
    assert big.status_code == 413

    def pieces():
        for _ in range(LARGEST // 100_000 + 2):
            yield b"x" * 100_000

    unsaid = ann.client.post("/login", content=pieces())
    assert unsaid.status_code == 413, "one that does not say how long it is"
    guarded = Guard(place.app, ("testserver",), per_second=0.0, burst=3.0)
    client = TestClient(guarded, follow_redirects=False)
    cookies = [{"cookie": f"matrix_session=made-up-{n}; other={n}"} for n in range(5)]
    assert [client.get("/login", headers=h).status_code for h in cookies] == [200, 200, 200, 429, 429]
    people = Guard(place.app, ("testserver",), per_second=0.0, burst=2.0, person={"a": "ann", "b": "bob"}.get)
    client = TestClient(people, follow_redirects=False)
    told = [client.get("/login", headers={"cookie": f"matrix_session={who}"}).status_code for who in "aaabb"]
    assert told == [200, 200, 429, 200, 200], "two behind one address do not use up each other's"


def test_texts_of_others_are_shown_as_text(place, ann):
    for page in (ann.client.get("/").text, ann.client.get(f"/clip/{place.keys[0]}").text):
        assert "<script>alert" not in page and "<img" not in page
    assert BAD in "".join(p["text"] for p in ann.see(place.keys[0])["caption"]), "as data, which is put in as text"
    scripts = "".join(p.read_text() for p in (Path(web.__file__).parent / "static").glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", scripts)
    answer = ann.client.get("/")
    assert answer.headers["content-security-policy"] == POLICY and "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    templates = "".join(p.read_text() for p in (Path(web.__file__).parent / "templates").glob("*"))
    assert not re.search(r"\|\s*safe|autoescape|style=|onclick=|https?://", templates)


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(place):
    token = place.journal.invite("zoe", "reviewer")
    said = stranger(place).post("/login", content=f"token={token}").headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said and token not in said


def test_no_two_actions_share_a_key_and_the_page_knows_them_all():
    keys = [s.key for s in SHORTCUTS]
    assert len(set(keys)) == len(keys) and not set(keys) & set("123456789")
    script = (Path(web.__file__).parent / "static" / "review.js").read_text()
    body = script.split("const actions = {")[1].split("\n};")[0]
    assert [s.action for s in SHORTCUTS if not re.search(rf"\b{s.action}(:|,)", body)] == []
