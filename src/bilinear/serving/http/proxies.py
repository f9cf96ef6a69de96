"""The client behind a proxy, and the address that a browser sees in place of the server's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from bilinear.errors import ParameterValueError
from bilinear.serving.http.asgi import Scope

_PORTS = {"http": 80, "https": 443}
_IPV6_CLIENT = 64


class Proxies:
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; those of other clients are ignored.

    Args:
        trusted: addresses and networks, "127.0.0.1" or "10.0.0.0/8".
    Raises:
        ParameterValueError: one of them is neither.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        try:
            self._networks = [ip_network(text, strict=False) for text in trusted]
        except ValueError as error:
            raise ParameterValueError(
                f"--trusted-proxy: {error}; give an address or a network such as 127.0.0.1 or 10.0.0.0/8"
            ) from None

    def __contains__(self, host: str) -> bool:
        if not self._networks:
            return False
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, scope: Scope) -> str:
        """The address of the client: the last one in X-Forwarded-For that is not a trusted proxy's.

        What stands before it was written by the client, which may write anything.
        """
        client = _peer(scope)
        if client not in self:
            return client
        for text in reversed(b",".join(_values(scope, b"x-forwarded-for")).decode("latin-1").split(",")):
            address = _address(text.strip())
            if address is None:
                break
            client = str(address)
            if client not in self:
                break
        return client

    def scheme(self, scope: Scope) -> str | None:
        """ "http" or "https", as the client asked; None where no trusted proxy says it."""
        if _peer(scope) not in self:
            return None
        said = b",".join(_values(scope, b"x-forwarded-proto")).decode("latin-1").rpartition(",")[2]
        return said.strip().lower() or None


@dataclass(frozen=True)
class PublicURL:
    """Address of the server as browsers see it: `origin` as it sends it, `name` without port."""

    origin: str
    name: str

    @classmethod
    def of(cls, text: str) -> PublicURL:
        """Raises ParameterValueError: not an http or https URL with a host and nothing secret."""
        try:
            parts = urlsplit(text)
            name = (parts.hostname or "").encode("idna" if "[" not in text else "ascii").decode()
            port = parts.port
        except ValueError:
            parts, name, port = urlsplit(""), "", None
        if parts.scheme not in _PORTS or not name or "@" in parts.netloc or parts.query or parts.fragment:
            raise ParameterValueError(
                "--public-url: give the address that browsers see, such as https://films.example.org/"
            )
        host = f"[{name}]" if ":" in name else name
        suffix = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
        return cls(f"{parts.scheme}://{host}{suffix}", name)


@lru_cache(4096)
def group_of(host: str) -> str:
    """Addresses that count as one client: an IPv6 client has a whole /64, and may use all of it."""
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_CLIENT), strict=False))
    return host if address is None else str(address)


@lru_cache(4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """From an address as proxies write it, with port or brackets or none of them."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [bytes(value) for key, value in scope["headers"] if key == name]
