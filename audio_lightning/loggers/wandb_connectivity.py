"""Check of the W&B server: whether an API key exists, and whether the server responds within a time limit."""

import contextlib
import netrc
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http.client import HTTPException
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import wandb

T = TypeVar("T")

SECONDS_TO_ANSWER = 3.5
"""Time limit in seconds for the server's first response, before wandb is started online."""


def start(function: Callable[[], T]) -> Future[T]:
    """Call a function in a daemon thread, which does not delay the end of the process.

    A DNS lookup has no time limit of its own, and wandb retries without a limit.
    """
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def asking(url: str, seconds: float, proxies: Mapping[str, str] | None = None) -> Callable[[], str | None]:
    """Start a request to a server in the background; it sends no data.

    Args:
        url: URL of the server, ``https://...``.
        seconds: time limit for the response, including the DNS lookup.
        proxies: URL of the proxy for ``http`` and for ``https``; None for those of the environment.

    Returns:
        A function that waits for the rest of the time and returns why the server cannot be used, or None if it can be
        used. Every HTTP status except 5xx counts as usable.
    """
    future = start(lambda: _ask(url, seconds, proxies))

    def reason() -> str | None:
        try:
            return future.result(seconds)
        except TimeoutError:
            return f"{url} did not respond within {seconds:g} s"

    return reason


def has_key(settings: "wandb.Settings") -> bool:
    """Return whether an API key for the server is known, so that wandb does not prompt for one."""
    if settings.api_key or settings.identity_token_file:
        return True
    names = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in map(os.path.expanduser, names):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(path).authenticators(urlsplit(settings.base_url).netloc):
                return True
    return False


def proxies_of(settings: "wandb.Settings") -> dict[str, str] | None:
    """Return the proxies set in wandb's settings; None if wandb uses those of the environment."""
    named = {"http": settings.http_proxy, "https": settings.https_proxy}
    return {scheme: url for scheme, url in named.items() if url} or None


def _ask(url: str, seconds: float, proxies: Mapping[str, str] | None) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(None if proxies is None else dict(proxies)))
    try:
        with opener.open(f"{url.rstrip('/')}/graphql", timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} responds with {error.code} {error.reason}" if error.code >= 500 else None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):  # the server responds; wandb has its own trusted certificates
            return None
        if isinstance(reason, TimeoutError):
            return f"{url} did not respond within {seconds:g} s"
        return f"{url}: {getattr(reason, 'strerror', None) or reason}"
