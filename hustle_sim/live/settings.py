"""What a live session takes from outside: the backend of ``.env``, the real clock, chance and identity."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import httpx
from pydantic import Field, JsonValue, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from hustle_sim.events import Emit
from hustle_sim.inputs import InputError, sentence
from hustle_sim.resilience.http import HttpBackend, HttpDialogue, parse_url
from hustle_sim.resilience.world import World, nowhere

_NONE = "none"


class Settings(BaseSettings):
    """Which backend to talk to, and how: ``HUSTLE_BACKEND_URL`` and so on, from the environment or ``.env``.

    ``api_key`` is a secret: it is not in any text that is made of the settings, and it is sent to the origin
    (scheme, host and port) of ``backend_url`` only. Fields of the dialogue that are None are as ``dialogue`` has
    them; ``none`` for ``healthy_at`` or ``version_at`` means that the health check's body is not asked for it.
    ``store`` is the queue's file, if it is not to be in the user's data directory.
    """

    model_config = SettingsConfigDict(
        env_prefix="HUSTLE_",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",  # the policy's fields stand in the same file
        frozen=True,
        hide_input_in_errors=True,
    )

    backend_url: str | None = None
    api_key: SecretStr | None = Field(default=None, repr=False)
    dialogue: Literal["simple", "openai"] = "simple"
    model: str = ""
    health_path: str | None = None
    health_status: int | None = None
    healthy_at: str | None = None
    healthy_value: str | None = None
    version_at: str | None = None
    chat_path: str | None = None
    chat_status: int | None = None
    chat_body: JsonValue = None
    reply_at: str | None = None
    store: Path | None = None

    @field_validator("backend_url", mode="after")
    @classmethod
    def _usable_url(cls, url: str | None) -> str | None:
        return None if url is None else str(parse_url(url))

    @classmethod
    def load(cls, env_file: str | Path | None = ".env") -> Self:
        """The settings of ``env_file`` (which need not exist) and the environment, which wins.

        Raises InputError with one sentence.
        """
        try:
            return cls(_env_file=env_file)
        except ValidationError as error:
            raise InputError(_secretive(error)) from None
        except SettingsError as error:
            raise InputError(f"environment (HUSTLE_...): {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise InputError(f"{env_file} can't be read: {why}") from None

    def http_dialogue(self) -> HttpDialogue:
        """The dialogue with the single changes; raises InputError with one sentence."""
        changes: dict[str, Any] = {
            name: value for name in HttpDialogue.model_fields if (value := getattr(self, name)) is not None
        }
        for name in ("healthy_at", "version_at"):
            if changes.get(name) == _NONE:
                changes[name] = None
        if self.dialogue == "openai":
            return HttpDialogue.openai(self.model, **changes)
        try:
            return HttpDialogue(**changes)
        except ValidationError as error:
            raise InputError(sentence(error, "dialogue", HttpDialogue.model_fields)) from None

    def backend(
        self,
        url: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> HttpBackend:
        """The backend at ``url`` (default ``backend_url``); the key goes along only to its own origin.

        Raises InputError with one sentence, also if there is no URL at all.
        """
        target = url or self.backend_url
        if target is None:
            raise InputError("no backend is named: set HUSTLE_BACKEND_URL in .env or the environment, or give a URL")
        api_key = self.api_key if self.backend_url and _origin(target) == _origin(self.backend_url) else None
        return HttpBackend(
            target, self.http_dialogue(), api_key=api_key, transport=transport, wall_clock=wall_clock or wall_time
        )


def usable_settings() -> tuple[Settings, str]:
    """The settings of ``.env``; where they can't be used, settings without any, and the sentence that says why."""
    try:
        return Settings.load(), ""
    except InputError as error:
        return Settings.model_construct(), str(error)


def wall_time() -> float:
    """POSIX seconds (UTC) now: the one place where ``hustle_sim`` looks at the wall clock."""
    return time.time()  # noqa: TID251 - a live session is where real time comes in


def live_world(emit: Emit = nowhere, client: int = 0) -> World:
    """The real surroundings of a session: the wall clock, chance seeded by the system, ids unique for ever.

    ``emit`` gets the events (default: nobody does).
    """
    chance = random.Random()

    def uniform(stream: str, *key: int) -> float:
        return chance.random()

    return World(
        wall_clock=wall_time,
        uniform=uniform,
        new_id=lambda: secrets.token_hex(16),
        emit=emit,
        client=client,
    )


def _origin(url: str) -> tuple[str, str, int | None]:
    parsed = parse_url(url)
    return parsed.scheme, parsed.host, parsed.port


def _secretive(error: ValidationError) -> str:
    """One sentence for what is wrong, with the name as it stands in the environment and without the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = "_".join(str(part) for part in first["loc"]).upper()
    return f"HUSTLE_{name}: {first['msg'].removeprefix('Value error, ')}"
