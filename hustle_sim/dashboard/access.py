"""Who may use a served dashboard: everyone, whoever knows a password, or whom an OAuth provider knows.

Secrets come from the environment or ``.env``, never from the command line, where every process could read them.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import panel as pn
from panel.auth import (
    AUTH_PROVIDERS,
    STATE_COOKIE_NAME,
    BasicAuthProvider,
    BasicLoginHandler,
    LogoutHandler,
    OAuthProvider,
    _validate_next_url,
)
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from hustle_sim.dashboard.handlers import bare_page, message_page
from hustle_sim.inputs import InputError, closest, read_json, sentence

logger = logging.getLogger("hustle_sim.dashboard")

Auth = Literal["none", "basic", "oauth"]

_WRONG = "That name and password do not belong together."
_WRONG_PASSWORD = "That is not the password."
_PAUSE_S = 1.0
"""How long an answer to a wrong password takes."""

_COOKIES = ("user", "id_token", "access_token", "refresh_token", "oauth_expiry", "is_guest", STATE_COOKIE_NAME)


class AccessSettings(BaseSettings):
    """The secrets of ``hustle-sim serve --auth``: ``HUSTLE_PASSWORD`` and so on, from the environment or ``.env``.

    ``credentials_file``: a JSON object of names and passwords. ``oauth_extra`` goes to the provider as
    it is (``tenant``, ``server``, ``url``, ...; ``generic`` wants ``AUTHORIZE_URL``, ``TOKEN_URL``, ``USER_URL``).
    """

    model_config = SettingsConfigDict(
        env_prefix="HUSTLE_", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True,
        hide_input_in_errors=True,
    )  # fmt: skip

    password: SecretStr | None = Field(default=None, repr=False)
    credentials_file: Path | None = None
    cookie_secret: SecretStr | None = Field(default=None, repr=False)
    oauth_provider: str | None = None
    oauth_key: str | None = None
    oauth_secret: SecretStr | None = Field(default=None, repr=False)
    oauth_redirect_uri: str | None = None
    oauth_extra: dict[str, str] = Field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, env_file: str | Path | None = ".env") -> Self:
        """What the environment and ``env_file`` (which need not exist) say. Raises InputError with one sentence."""
        try:
            return cls(_env_file=env_file)
        except ValidationError as error:
            raise InputError(sentence(error, "environment (HUSTLE_...)")) from None
        except SettingsError:
            raise InputError('HUSTLE_OAUTH_EXTRA: write a JSON object, such as {"tenant": "example"}') from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise InputError(f"{env_file} can't be read: {why}") from None


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in: ``provider`` makes Panel's auth provider once, ``options`` are for its server beside that."""

    provider: Callable[[], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def access(auth: Auth, settings: AccessSettings, cookie_path: str = "/") -> Access:
    """What the server needs for ``auth``. Raises InputError with one sentence that names what is missing."""
    if auth == "none":
        return Access()
    secret = settings.cookie_secret.get_secret_value() if settings.cookie_secret else None
    if auth == "oauth":
        return _oauth(settings, secret, cookie_path)
    matches, names = _matcher(settings), settings.credentials_file is not None
    # Without a secret of their own people log in again after a restart, and that is all.
    return Access(
        lambda: PasswordProvider(matches, names, cookie_path),
        {"cookie_secret": secret or secrets.token_hex(32), "cookie_path": cookie_path},
    )


def _oauth(settings: AccessSettings, cookie_secret: str | None, cookie_path: str) -> Access:
    wanted = {
        "HUSTLE_OAUTH_PROVIDER": settings.oauth_provider, "HUSTLE_OAUTH_KEY": settings.oauth_key,
        "HUSTLE_OAUTH_SECRET": settings.oauth_secret, "HUSTLE_COOKIE_SECRET": cookie_secret,
    }  # fmt: skip
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        raise InputError(f"--auth oauth also needs {', '.join(missing)} in the environment or .env")
    if cookie_path != "/" and not settings.oauth_redirect_uri:
        raise InputError(
            "--auth oauth with --prefix also needs HUSTLE_OAUTH_REDIRECT_URI: the whole address of the log-in, such as "
            f"https://tools.example.com{cookie_path}/login"
        )
    provider = str(settings.oauth_provider)
    known = sorted(set(AUTH_PROVIDERS) - {"pam", "password"})
    if provider not in known:
        raise InputError(
            f"HUSTLE_OAUTH_PROVIDER: there is no provider {provider!r}{closest(provider, known)} "
            f"Known: {', '.join(known)}"
        )
    assert settings.oauth_secret is not None
    return Access(
        lambda: VisitorProvider(provider, cookie_path),
        {
            "oauth_key": settings.oauth_key, "oauth_secret": settings.oauth_secret.get_secret_value(),
            "oauth_redirect_uri": settings.oauth_redirect_uri, "oauth_extra_params": dict(settings.oauth_extra),
            "cookie_secret": cookie_secret, "cookie_path": cookie_path,
        },
    )  # fmt: skip


def _matcher(settings: AccessSettings) -> Callable[[str, str], bool]:
    """Whether a name and a password belong together; what a file says is read anew each time."""
    if settings.credentials_file is not None:
        _credentials(settings.credentials_file)
        return lambda name, password: _same(password, _credentials(settings.credentials_file).get(name))
    if settings.password is None or not settings.password.get_secret_value():
        raise InputError(
            "--auth basic needs HUSTLE_PASSWORD, or HUSTLE_CREDENTIALS_FILE with names and passwords as JSON, "
            "in the environment or .env"
        )
    known = settings.password.get_secret_value()
    return lambda _, password: _same(password, known)


def _credentials(path: Path | None) -> dict[str, str]:
    assert path is not None
    found = read_json(path)
    if not found or not all(isinstance(each, str) and each for each in found.values()):
        raise InputError(f"{path}: write names and passwords, such as {json.dumps({'ann': '...'})}")
    return found


def _same(given: str, known: str | None) -> bool:
    # An unknown name takes as long as a known one.
    equal = hmac.compare_digest(given.encode(), (known or secrets.token_hex(16)).encode())
    return equal and known is not None


class _OurLogout(LogoutHandler):
    _path = "/"

    def get(self) -> None:
        """Forget the visitor, and say so."""
        for cookie in _COOKIES:
            self.clear_cookie(cookie, path=self._path)
        words = {"words": "Log in again"}
        self.write(message_page("Logged out", "You are logged out.", f"{self.application.prefix}/", **words))


class _OurPages:
    """The log-out of both ways to log in: Panel's own leaves cookies that have a path."""

    _cookie_path: str

    @property
    def logout_handler(self) -> type[LogoutHandler]:
        """The page at ``/logout``."""
        return type("Logout", (_OurLogout,), {"_path": self._cookie_path})


class _Login(BasicLoginHandler):
    """A log-in that works offline, keeps where the visitor was going, and is slow to say no."""

    matches: Callable[[str, str], bool]
    names: bool
    cookie_path: str

    def get(self) -> None:
        """Ask for the password."""
        self._ask()

    async def post(self) -> None:
        """Let the visitor in, or say that this is not the password."""
        name = self.get_body_argument("username", "") if self.names else "visitor"
        password = self.get_body_argument("password", "", strip=False)
        try:
            right = type(self).matches(name, password)
        except InputError as error:
            logger.error("Nobody can log in: %s", error)
            right = False
        if not right:
            await asyncio.sleep(_PAUSE_S)
            self.set_status(403)
            self._ask(_WRONG if self.names else _WRONG_PASSWORD, name)
            return
        home = f"{self.application.prefix}/"
        going = _validate_next_url(self.get_query_argument("next", home)) or home
        self.set_secure_cookie(
            "user", name, expires_days=pn.config.oauth_expiry, path=self.cookie_path, httponly=True,
            samesite="Lax", secure=self.request.protocol == "https",
        )  # fmt: skip
        self.redirect(going)

    def _ask(self, wrong: str = "", username: str = "") -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish(bare_page("login.html", title="Log in", wrong=wrong, names=self.names, username=username))


class PasswordProvider(_OurPages, BasicAuthProvider):
    """One password for all, or one for each name."""

    def __init__(self, matches: Callable[[str, str], bool], names: bool, cookie_path: str) -> None:
        self._matches, self._names, self._cookie_path = matches, names, cookie_path
        super().__init__()

    @property
    def login_handler(self) -> type[BasicLoginHandler]:
        """The page at ``/login``."""
        own = {"matches": staticmethod(self._matches), "names": self._names, "cookie_path": self._cookie_path}
        return type("Login", (_Login,), own)


class VisitorProvider(_OurPages, OAuthProvider):
    """The log-in of a provider that Panel knows."""

    def __init__(self, provider: str, cookie_path: str) -> None:
        self._cookie_path = cookie_path
        pn.config.oauth_provider = provider  # where Panel looks for it, also while this is made
        super().__init__()
        self._error_template = _ErrorPage()


class _ErrorPage:
    """What Panel shows when a provider turns a visitor away; its own page asks other hosts for fonts."""

    def render(self, **values: Any) -> str:
        """The page, in the way of a Jinja template."""
        said = str(values.get("error_msg") or values.get("error") or "the provider gave no reason")
        return message_page("Not logged in", "The log-in did not work.", "./", detail=said, words="Try again")
