import asyncio
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from hustle_sim.inputs import InputError
from hustle_sim.live.settings import Settings, live_world
from hustle_sim.resilience.http import HttpBackend, HttpDialogue

SECRET = "sk-very-secret-1234567890"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.upper().startswith("HUSTLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Settings:
    Path(".env").write_text(text)
    return Settings.load()


def test_without_anything() -> None:
    settings = Settings.load()
    assert settings.backend_url is None
    assert settings.api_key is None
    assert settings.http_dialogue() == HttpDialogue()
    with pytest.raises(InputError, match="HUSTLE_BACKEND_URL"):
        settings.backend()
    assert settings.backend("http://localhost:1234").url == "http://localhost:1234"


def test_from_the_file_beside_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "HUSTLE_BACKEND_URL= http://localhost:8000 \nHUSTLE_API_KEY=\nHUSTLE_PROBE__INTERVAL_S=60s\nOTHER=1\n"
    settings = written(text)
    assert settings.backend_url == "http://localhost:8000"
    assert settings.api_key is None
    monkeypatch.setenv("HUSTLE_BACKEND_URL", "http://localhost:9000")
    assert Settings.load().backend_url == "http://localhost:9000"
    assert Settings.load(env_file=None).backend_url == "http://localhost:9000"


def test_the_example_can_be_copied() -> None:
    example = Path(__file__).parents[1] / ".env.example"
    lines = [
        line.removeprefix("# ") if line.startswith("# HUSTLE_") else line
        for line in example.read_text().splitlines(keepends=True)
    ]
    settings = written("".join(lines))
    assert settings.backend_url == "http://localhost:8000"
    assert settings.http_dialogue() == HttpDialogue()


def test_single_settings_of_the_dialogue() -> None:
    settings = written("HUSTLE_HEALTH_PATH=/up\nHUSTLE_HEALTHY_AT=none\nHUSTLE_REPLY_AT=/a/0\nHUSTLE_CHAT_STATUS=201\n")
    assert settings.http_dialogue() == HttpDialogue(
        health_path="/up", healthy_at=None, reply_at="/a/0", chat_status=201
    )


def test_the_openai_dialogue() -> None:
    text = 'HUSTLE_DIALOGUE=openai\nHUSTLE_MODEL=m\nHUSTLE_CHAT_BODY={"model": "m", "input": "{message}"}\n'
    dialogue = written(text).http_dialogue()
    assert dialogue.chat_path == "/v1/chat/completions"
    assert dialogue.chat_body == {"model": "m", "input": "{message}"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("HUSTLE_BACKEND_URL=localhost:8000", "HUSTLE_BACKEND_URL: 'localhost:8000' is no backend URL"),
        ("HUSTLE_DIALOGUE=graphql", "HUSTLE_DIALOGUE: Input should be 'simple' or 'openai'"),
        ("HUSTLE_CHAT_BODY={broken", "chat_body"),
        ("HUSTLE_CHAT_STATUS=ok", "HUSTLE_CHAT_STATUS"),
        ("HUSTLE_CHAT_STATUS=500", "dialogue: chat_status"),
        ("HUSTLE_CHAT_PATH=chat", "dialogue: chat_path"),
        ("HUSTLE_DIALOGUE=openai", "name the model"),
        ("HUSTLE_BACKEND_URL=http://h\nHUSTLE_API_KEY='two words'", "the API key has characters"),
    ],
)
def test_bad_input_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        written(f"HUSTLE_BACKEND_URL=http://localhost\n{text}\n").backend()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "two words" not in str(caught.value)


def test_a_file_that_can_not_be_read() -> None:
    Path(".env").write_bytes(b"HUSTLE_MODEL=\xff\xfe\xfa")
    with pytest.raises(InputError, match="not text in UTF-8"):
        Settings.load()


@pytest.mark.parametrize(
    "show",
    [
        repr, str, lambda s: s.model_dump_json(), lambda s: str(s.model_dump()),
        lambda s: json.dumps(s.model_dump(mode="json")),
        lambda s: f"{s.api_key!r} {s.api_key}", lambda s: repr(s.backend()), lambda s: str(vars(s)),
        lambda s: repr(s.model_copy(update={"model": "m"})),
    ],
)  # fmt: skip
def test_the_key_is_never_shown(show: Callable[[Settings], str]) -> None:
    settings = written(f"HUSTLE_BACKEND_URL=http://localhost\nHUSTLE_API_KEY={SECRET}\n")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == SECRET
    assert SECRET not in show(settings)


def test_the_key_is_not_in_an_error() -> None:
    with pytest.raises(InputError) as caught:
        written(f"HUSTLE_API_KEY={SECRET}\nHUSTLE_DIALOGUE=x\nHUSTLE_CHAT_BODY=[1]\n")
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__context__)


def authorization(backend_of: Callable[[httpx.AsyncBaseTransport], HttpBackend]) -> str | None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"status": "ok"})

    asyncio.run(backend_of(httpx.MockTransport(handler)).health())
    return seen[0]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (None, True),
        ("https://coach.test/other", True),
        ("https://coach.test:443", True),
        ("http://coach.test", False),
        ("https://coach.test:8443", False),
        ("https://coach.test.evil.test", False),
    ],
)
def test_the_key_goes_to_its_own_origin_only(url: str | None, sent: bool, caplog: pytest.LogCaptureFixture) -> None:
    settings = written(f"HUSTLE_BACKEND_URL=https://coach.test/api\nHUSTLE_API_KEY={SECRET}\n")
    with caplog.at_level(logging.DEBUG):
        got = authorization(lambda transport: settings.backend(url, transport=transport))
    assert got == (f"Bearer {SECRET}" if sent else None)
    assert SECRET not in caplog.text


def test_a_key_without_a_backend_is_sent_nowhere() -> None:
    settings = written(f"HUSTLE_API_KEY={SECRET}\n")
    assert authorization(lambda transport: settings.backend("https://coach.test", transport=transport)) is None


def test_settings_do_not_change() -> None:
    settings = Settings.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.model = "other"
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_live_world() -> None:
    events: list[object] = []
    world = live_world(events.append, client=3)
    Path("now").touch()
    assert abs(world.wall_clock() - Path("now").stat().st_mtime) < 5
    draws = [world.uniform("x", 1) for _ in range(100)]
    assert len(set(draws)) == 100
    assert all(0 <= draw < 1 for draw in draws)
    assert len({world.new_id() for _ in range(100)}) == 100
    assert world.client == 3
