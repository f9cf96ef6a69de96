"""Access control: tokens, host names, origins of pages, requests a second."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Literal

from bilinear.errors import ParameterValueError
from bilinear.serving.http.asgi import Scope, header
from bilinear.serving.http.proxies import Proxies, PublicURL, group_of
from bilinear.serving.problems import Refused

Access = Literal["open", "read", "write"]

_SHORTEST_TOKEN = 16
_MOST_CLIENTS = 50_000


class Tokens:
    """Tokens and what each allows; only their SHA-256 is kept, and all of them are always compared."""

    def __init__(self, digests: dict[bytes, Access]) -> None:
        self._digests = digests

    @classmethod
    def of(cls, path: Path) -> Tokens:
        """From a file of lines `read TOKEN` or `write TOKEN`; `#` begins a comment.

        Raises ParameterValueError: a line is something else, or a token is short. Tokens are not shown.
        """
        digests: dict[bytes, Access] = {}
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            if len(words) != 2 or words[0] not in ("read", "write"):
                raise ParameterValueError(f"{path}, line {number}: write `read TOKEN` or `write TOKEN`")
            if len(words[1]) < _SHORTEST_TOKEN or not words[1].isascii():
                raise ParameterValueError(
                    f"{path}, line {number}: a token has {_SHORTEST_TOKEN} ASCII characters or more; "
                    "`openssl rand -hex 24` makes one"
                )
            digests[_digest(words[1].encode())] = "write" if words[0] == "write" else "read"
        if not digests:
            raise ParameterValueError(
                f"{path} holds no token; write lines such as `write $(openssl rand -hex 24)`"
            )
        return cls(digests)

    def allows(self, token: bytes) -> Access:
        """ "open" (nothing), "read" or "write"; takes the same time for every token."""
        asked, found = _digest(token), "open"
        for digest, access in self._digests.items():
            if hmac.compare_digest(digest, asked):
                found = access
        return found  # type: ignore[return-value]


class RateLimit:
    """So many requests a second for each client address, with a burst of twice that."""

    def __init__(self, per_second: float) -> None:
        self.per_second, self._left = per_second, dict[str, tuple[float, float]]()

    def take(self, client: str) -> float:
        """Seconds to wait: 0.0 where the request may go on."""
        now, most = monotonic(), max(1.0, 2 * self.per_second)
        left, then = self._left.get(client, (most, now))
        left = min(most, left + (now - then) * self.per_second)
        if left < 1:
            self._left[client] = (left, now)
            return (1 - left) / self.per_second
        if len(self._left) >= _MOST_CLIENTS and client not in self._left:
            self._left.clear()  # full buckets again, for all: bounded memory before exactness
        self._left[client] = (left - 1, now)
        return 0.0


class Guard:
    """Everything that is checked before a request is looked at.

    Without tokens only this machine is served, so a page of another site must not be able to speak to
    it through the browser of a user of this machine: the Host must be a name of this machine (no rebinding of
    names), and writes that a browser sends for a page must come from our own page.
    """

    def __init__(
        self,
        tokens: Tokens | None,
        names: frozenset[str],
        rate: RateLimit | None,
        proxies: Proxies | None = None,
        public: PublicURL | None = None,
    ) -> None:
        self._tokens, self._names, self._rate = tokens, names, rate
        self._proxies, self._public = proxies or Proxies(), public

    def client(self, scope: Scope) -> str:
        """The address of the client, or of the last hop before the trusted proxies."""
        return self._proxies.client(scope)

    def check(self, scope: Scope, access: Access) -> None:
        """Raises Refused: 421 (host), 403 (origin, token), 401 (no token), 429 (too many)."""
        if self._rate is not None:
            wait = self._rate.take(group_of(self.client(scope)))
            if wait:
                raise Refused(f"too many requests; wait {wait:.1f} s", code="too_many_requests", status=429)
        host = header(scope, b"host")
        if self._names and (host is None or _host_name(host) not in self._names):
            raise Refused("this server does not answer for that host", code="wrong_host", status=421)
        if access == "write":
            self._check_origin(scope, host)
        if self._tokens is None or access == "open":
            return
        given = header(scope, b"authorization") or b""
        scheme, _, token = given.partition(b" ")
        allowed = self._tokens.allows(token.strip()) if scheme.lower() == b"bearer" else "open"
        if allowed == "open":
            raise Refused("send Authorization: Bearer TOKEN", code="no_token", status=401)
        if access == "write" and allowed == "read":
            raise Refused("this token may only read", code="read_only_token", status=403)

    def _check_origin(self, scope: Scope, host: bytes | None) -> None:
        origin = header(scope, b"origin")
        foreign = origin is not None and not self._is_ours(origin.decode("latin-1"), host, scope)
        if foreign or header(scope, b"sec-fetch-site") in (b"cross-site", b"same-site"):
            raise Refused("a page of another origin may not write here", code="wrong_origin", status=403)

    def _is_ours(self, origin: str, host: bytes | None, scope: Scope) -> bool:
        """The public URL's origin, or the host that was asked, by the scheme that a trusted proxy names."""
        if self._public is not None and origin == self._public.origin:
            return True
        scheme, _, authority = origin.partition("://")
        if host is None or authority != host.decode("latin-1"):
            return False
        if self._public is not None and authority == self._public.origin.partition("://")[2]:
            return False  # the same name, without TLS
        return scheme == (self._proxies.scheme(scope) or scheme)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str, more: tuple[str, ...] = ()) -> frozenset[str]:
    """Names that a Host header may have; empty (any) where the server listens on all addresses."""
    if is_loopback(host):
        return frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in more)})
    return frozenset(name.lower() for name in more)


def _host_name(host: bytes) -> str:
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
