"""The server: who may come in, under which addresses, and what it says about itself and about what is not there."""

import asyncio
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, urlparse

import httpx
import panel as pn
import panel_material_ui as pmui
import pytest
from bokeh.client import pull_session
from bokeh.util.token import get_session_id, get_token_payload
from typer.testing import CliRunner

from hustle_sim._version import __version__
from hustle_sim.cli.main import app as command_line
from hustle_sim.dashboard import serving
from hustle_sim.dashboard.access import AccessSettings, access
from hustle_sim.dashboard.handlers import message_page
from hustle_sim.dashboard.lifetime import free_at_end
from hustle_sim.dashboard.menu import THEME_COOKIE
from hustle_sim.dashboard.serving import Serving, exposed
from hustle_sim.inputs import InputError


def settings(**values):
    return AccessSettings(_env_file=None, **values)


@contextmanager
def running(wanted, secrets=None, page=lambda: pn.pane.HTML("the dashboard")):
    """A server in a thread of its own; its page is a small one, since the handlers around it are what is looked at."""
    made, whole = {}, threading.Event()
    loop = asyncio.new_event_loop()

    def work():
        asyncio.set_event_loop(loop)
        made["server"] = serving.bound(wanted, secrets or settings())
        made["server"].start()
        loop.call_soon(whole.set)
        loop.run_forever()
        made["server"].stop()
        made["server"].unlisten()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    was, serving.create_app = serving.create_app, page or serving.create_app
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() and not whole.wait(0.1):
        pass
    try:
        with httpx.Client(base_url=f"http://localhost:{made['server'].port}", timeout=60) as client:
            yield client
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        serving.create_app = was


@pytest.mark.real
def test_health_tells_version_uptime_sessions_and_workers_as_json():
    with running(Serving()) as client:
        before = client.get("/health")
        assert before.status_code == 200
        assert before.headers["content-type"].startswith("application/json")
        assert client.get("/").status_code == 200
        after = client.get("/health").json()
    assert set(after) == {"status", "version", "uptime_s", "sessions", "workers"}
    assert (after["status"], after["version"]) == ("ok", __version__)
    assert after["sessions"] == before.json()["sessions"] + 1
    assert 0 <= after["uptime_s"] < 600


@pytest.mark.real
def test_a_session_ends_when_its_visitor_leaves_and_not_before_one_whose_browser_is_slow_has_come():
    ends = []

    def page():
        page, end = pmui.Page(main=["the dashboard"]), threading.Event()
        ends.append(end)
        free_at_end(page, [end.set])
        return page

    with running(Serving(), page=page) as client:
        slow = client.get("/")
        quick = pull_session(url=str(client.base_url))
        quick.close()
        # Bokeh itself keeps it for 15 s and more.
        assert ends[1].wait(10)
        assert not ends[0].is_set()
        assert client.get("/health").json()["sessions"] == 1
        come = pull_session(session_id=get_session_id(token(slow.text)), url=str(client.base_url))
        come.close()
        assert ends[0].wait(10)
        assert len(ends) == 2


@pytest.mark.real
@pytest.mark.parametrize("prefix", ["", "/tools/hustle"])
def test_an_unknown_address_is_a_page_that_leads_to_the_dashboard(prefix):
    with running(Serving(prefix=prefix)) as client:
        missing = client.get("/no<where>")
        assert missing.status_code == 404
        assert "There is nothing at this address." in missing.text
        assert "&lt;where&gt;" in missing.text or "%3Cwhere%3E" in missing.text
        assert f'href="{prefix}/"' in missing.text
        assert "http://" not in missing.text.replace("http://www.w3.org", "")
        assert client.get(f"{prefix}/").status_code == 200
        assert client.get(f"{prefix}/health").status_code == 200


def bare(page):
    """A page without what is each visitor's own: the token, and the names that Bokeh gives to elements."""
    page = re.sub(r'"token":"[^"]+"', "", page)
    page = re.sub(r"<link rel=.preload.[^>]*>|<script>addEventListener.*?</script>", "", page)
    return re.sub(r"\bp\d{4,}\b|[0-9a-f]{8}-[0-9a-f-]{27}", "", page)


def token(page):
    return re.search(r'"token":"([^"]+)"', page)[1]


@pytest.mark.real
@pytest.mark.parametrize("prefix", ["", "/tools/hustle"])
def test_the_page_of_the_next_visitor_is_sent_at_once_with_a_token_of_its_own_and_their_session_follows(prefix):
    may_build, built = threading.Event(), []

    def page():
        may_build.wait(60)
        built.append(1)
        (may_build.clear if len(built) == 1 else second_is_built.set)()
        return pn.pane.HTML("the dashboard")

    may_build.set()
    second_is_built = threading.Event()
    with running(Serving(prefix=prefix), page=page) as client:
        first = client.get(f"{prefix}/?scenario=hang")
        # Building would take a minute: nobody waits for it.
        second = client.get(f"{prefix}/?scenario=flap", timeout=20)
        may_build.set()
        assert (first.status_code, second.status_code) == (200, 200)
        assert second.headers["cache-control"] == "no-store"
        assert bare(first.text) == bare(second.text)
        assert token(first.text) != token(second.text)
        assert "flap" in str(get_token_payload(token(second.text))["arguments"]["scenario"])
        assert second_is_built.wait(60)
        # It is counted a moment after it was built.
        assert any(client.get(f"{prefix}/health").json()["sessions"] == 2 for _ in range(1000))


@pytest.mark.real
def test_each_theme_has_a_first_page_of_its_own():
    with running(Serving()) as client:
        pages = [client.get(path).text for path in ("/", "/?theme=dark", "/", "/?theme=dark", "/?theme=mauve")]
        pages.append(client.get("/", headers={"Cookie": f"{THEME_COOKIE}=dark"}).text)
    dark = ["theme/dark.css" in page for page in pages]
    assert dark == [False, True, False, True, False, True]


@pytest.mark.real
def test_a_page_that_cannot_be_built_is_an_http_error_in_words(caplog, monkeypatch):
    def broken():
        raise OSError("secret detail")

    monkeypatch.setattr("hustle_sim.dashboard.app.make_app", broken)
    with running(Serving(), page=None) as client:
        answer = client.get("/?place=live")
        assert answer.status_code == 500
        assert "could not be built" in answer.text
        assert "secret detail" not in answer.text
        assert "Traceback" not in answer.text
        assert 'href="/?place=live"' in answer.text
        assert client.get("/health").json()["status"] == "ok"
    assert "secret detail" in caplog.text


@pytest.mark.real
@pytest.mark.parametrize("prefix", ["", "/hustle"])
def test_nobody_comes_in_without_the_password_and_who_has_it_goes_where_they_were_going(prefix, monkeypatch):
    monkeypatch.setattr("hustle_sim.dashboard.access._PAUSE_S", 0.0)
    with running(Serving(prefix=prefix, auth="basic"), settings(password="open sesame")) as client:
        stopped = client.get(f"{prefix}/?place=live&seed=3", follow_redirects=True)
        assert stopped.url.path == f"{prefix}/login"
        assert "the dashboard" not in stopped.text
        assert 'name="password"' in stopped.text
        assert 'name="username"' not in stopped.text
        assert client.get(f"{prefix}/ws").status_code in (400, 403)

        wrong = client.post(str(stopped.url), data={"password": "let me in"})
        assert wrong.status_code == 403
        assert "That is not the password." in wrong.text
        assert "user" not in client.cookies

        right = client.post(str(stopped.url), data={"password": "open sesame"})
        assert right.status_code == 302
        assert right.headers["location"] == f"{prefix}/?place=live&seed=3"
        assert "HttpOnly" in right.headers["set-cookie"]
        assert client.get(right.headers["location"]).status_code == 200

        out = client.get(f"{prefix}/logout")
        assert "You are logged out." in out.text
        assert client.get(f"{prefix}/").status_code == 302
        assert client.get(f"{prefix}/health").status_code == 200


@pytest.mark.real
def test_names_and_passwords_come_from_a_file_that_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("hustle_sim.dashboard.access._PAUSE_S", 0.0)
    path = tmp_path / "people.json"
    path.write_text('{"ann": "one", "bob": "two"}')
    with running(Serving(auth="basic"), settings(credentials_file=path)) as client:

        def log_in(name, password):
            return client.post("/login", data={"username": name, "password": password}).status_code

        assert 'name="username"' in client.get("/login").text
        assert log_in("ann", "two") == 403
        assert log_in("eve", "") == 403
        assert log_in("ann", "one") == 302
        path.write_text('{"bob": "two"}')
        assert log_in("ann", "one") == 403
        path.write_text("{")
        assert log_in("bob", "two") == 403


@pytest.mark.real
def test_a_log_in_leads_to_no_other_host(monkeypatch):
    with running(Serving(auth="basic"), settings(password="x")) as client:
        for there in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
            answer = client.post("/login", params={"next": there}, data={"password": "x"})
            assert answer.status_code == 400


class Provider:
    """An OAuth provider on loopback that knows one person."""

    def __init__(self):
        self.asked = []

    async def answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line), 0)
        body = (await reader.readexactly(length)).decode()
        target = head.split(" ")[1]
        self.asked.append((target, parse_qs(body)))
        found = {"access_token": "t0ken"} if target == "/token" else {"email": "ann@example.com"}
        text = json.dumps(found)
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
        writer.close()


@contextmanager
def provider():
    one, loop, ready, where = Provider(), asyncio.new_event_loop(), threading.Event(), []

    async def run():
        server = await asyncio.start_server(one.answer, "127.0.0.1", 0)
        where.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()

    def work():
        loop.run_until_complete(run())
        loop.run_forever()
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield one, where[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.mark.real
def test_an_oauth_provider_lets_people_in():
    with provider() as (asked, url):
        secrets = settings(
            oauth_provider="generic", oauth_key="our-id", oauth_secret="our-secret", cookie_secret="c" * 40,
            oauth_extra={
                "AUTHORIZE_URL": f"{url}/authorize", "TOKEN_URL": f"{url}/token", "USER_URL": f"{url}/user",
            },
        )  # fmt: skip
        with running(Serving(auth="oauth"), secrets) as client:
            log_in = client.get("/").headers["location"]
            sent = client.get(str(client.base_url.join(log_in)))
            there = urlparse(sent.headers["location"])
            question = parse_qs(there.query)
            assert f"{there.scheme}://{there.netloc}{there.path}" == f"{url}/authorize"
            assert question["client_id"] == ["our-id"]
            back = client.get("/login", params={"code": "c0de", "state": question["state"][0]})
            assert back.status_code == 302, back.text
            assert client.get("/").status_code == 200
            assert [target for target, _ in asked.asked] == ["/token", "/user"]
            assert asked.asked[0][1]["code"] == ["c0de"]

            denied = client.get("/login", params={"error": "access_denied", "error_description": "no <entry>"})
            assert denied.status_code >= 400
            assert "The log-in did not work." in denied.text
            assert "<entry>" not in denied.text
            assert "fonts.googleapis" not in denied.text


@pytest.mark.parametrize(
    ("auth", "values", "sentence"),
    [
        ("basic", {}, "--auth basic needs HUSTLE_PASSWORD"),
        ("basic", {"password": ""}, "--auth basic needs HUSTLE_PASSWORD"),
        ("oauth", {}, "HUSTLE_OAUTH_PROVIDER, HUSTLE_OAUTH_KEY, HUSTLE_OAUTH_SECRET, HUSTLE_COOKIE_SECRET"),
        ("oauth", {"oauth_provider": "github", "oauth_key": "k", "oauth_secret": "s"}, "needs HUSTLE_COOKIE_SECRET in"),
        (
            "oauth",
            {"oauth_provider": "gihtub", "oauth_key": "k", "oauth_secret": "s", "cookie_secret": "c"},
            "did you mean 'github'",
        ),
    ],
)
def test_what_a_log_in_lacks_is_named(auth, values, sentence):
    with pytest.raises(InputError, match=sentence):
        access(auth, settings(**values))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"ann": 1}', '{"ann": ""}'])
def test_a_file_of_credentials_that_is_none_is_a_sentence_at_the_start(content, tmp_path):
    path = tmp_path / "people.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"people\.json"):
        access("basic", settings(credentials_file=path))


def test_an_oauth_log_in_under_a_prefix_must_know_where_to_come_back_to():
    known = {"oauth_provider": "github", "oauth_key": "k", "oauth_secret": "s", "cookie_secret": "c"}
    with pytest.raises(InputError, match=r"HUSTLE_OAUTH_REDIRECT_URI.*/hustle/login"):
        access("oauth", settings(**known), "/hustle")
    back = "https://tools.example.com/hustle/login"
    assert access("oauth", settings(**known, oauth_redirect_uri=back), "/hustle").options["oauth_redirect_uri"] == back


def test_no_secret_is_in_the_text_of_what_holds_it():
    held = settings(password="s3cret", cookie_secret="s3cret", oauth_secret="s3cret", oauth_extra={"a": "s3cret"})
    assert "s3cret" not in repr(held) + str(held) + repr(access("basic", held))


@pytest.mark.parametrize(("written", "meant"), [("", ""), ("/", ""), ("hustle", "/hustle"), ("/a/b-c/", "/a/b-c")])
def test_a_prefix_is_understood(written, meant):
    assert Serving.of(prefix=written).prefix == meant


@pytest.mark.parametrize("prefix", ["/a b", "https://x/y", "/a?b", "//"[:1] + "a//b"])
def test_a_prefix_that_is_no_path_is_a_sentence(prefix):
    with pytest.raises(InputError, match="--prefix"):
        Serving.of(prefix=prefix)


@pytest.mark.parametrize("origin", ["example.com", "example.com:8443", "*.example.com", "[::1]:5006", "*"])
def test_origins_are_hosts(origin):
    assert Serving.of(origins=[origin]).origins == (origin,)


@pytest.mark.parametrize("origin", ["https://example.com", "example.com/x", "", "example.com:port", "a:0", "a:99999"])
def test_an_origin_that_is_no_host_is_a_sentence(origin):
    with pytest.raises(InputError, match="--allow-origin"):
        Serving.of(origins=[origin])


@pytest.mark.parametrize(
    ("address", "auth", "warned"),
    [
        ("127.0.0.1", "none", False), ("::1", "none", False), ("localhost", "none", False), ("0.0.0.0", "none", True),
        ("::", "none", True), ("192.0.2.1", "none", True), ("0.0.0.0", "basic", False),
    ],
)  # fmt: skip
def test_a_public_address_without_a_log_in_is_warned_of(address, auth, warned):
    assert bool(exposed(Serving(address=address, auth=auth))) == warned


def test_the_command_line_says_what_a_log_in_lacks_before_anything_is_served(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("HUSTLE_PASSWORD", "HUSTLE_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(command_line, ["serve", "--auth", "basic"])
    assert isinstance(done.exception, InputError)
    assert "HUSTLE_PASSWORD" in str(done.exception)
    assert CliRunner().invoke(command_line, ["serve", "--auth", "magic"]).exit_code == 2


def test_a_page_of_ours_loads_nothing_and_escapes_what_it_is_told():
    page = message_page("<t>", "<s>", "/?a=<b>", detail="<d>")
    assert "<t>" not in page
    assert all(f"&lt;{letter}&gt;" in page for letter in "tsd")
    assert "src=" not in page
    assert "@import" not in page
