"""Whether W&B's server can be used: whether there is a key for it, and whether it answers within a known time."""

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
"""How long a server may take to show that it is there, before wandb is told to use it."""


def start(function: Callable[[], T]) -> Future[T]:
    """Call a function in a thread that nobody waits for at the end of the process.

    Looking up a name has no time limit of its own, and wandb tries again for as long as it likes.
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
    """Begin to ask a server whether it is there, in the background and without telling it anything.

    Args:
        url: of the server, ``https://...``.
        seconds: time limit for its answer, including the lookup of its address.
        proxies: URL of the proxy for ``http`` and for ``https``; None for those of the environment.

    Returns:
        A function that waits for the rest of the time and returns why the server cannot be used, or None where it can:
        any answer will do but that of a broken server (HTTP status 5xx).
    """
    future = start(lambda: _ask(url, seconds, proxies))

    def answer() -> str | None:
        try:
            return future.result(seconds)
        except TimeoutError:
            return f"{url} has not answered for {seconds:g} s"

    return answer


def has_key(settings: "wandb.Settings") -> bool:
    """Whether there is a key for the server, so that nobody has to be asked for one."""
    if settings.api_key or settings.identity_token_file:
        return True
    names = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in map(os.path.expanduser, names):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(path).authenticators(urlsplit(settings.base_url).netloc):
                return True
    return False


def proxies_of(settings: "wandb.Settings") -> dict[str, str] | None:
    """Those that wandb was told to use; None where it goes by the environment."""
    named = {"http": settings.http_proxy, "https": settings.https_proxy}
    return {scheme: url for scheme, url in named.items() if url} or None


def _ask(url: str, seconds: float, proxies: Mapping[str, str] | None) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(None if proxies is None else dict(proxies)))
    try:
        with opener.open(f"{url.rstrip('/')}/graphql", timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code} {error.reason}" if error.code >= 500 else None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):  # it is there, and whom wandb trusts is not ours to say
            return None
        if isinstance(reason, TimeoutError):
            return f"{url} has not answered for {seconds:g} s"
        return f"{url}: {getattr(reason, 'strerror', None) or reason}"
