"""Where a URL leads: to its server, or to a proxy that the environment names for it."""

from __future__ import annotations

import base64
import ipaddress
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from penstock.errors import InputError

_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """A proxy that speaks HTTP.

    Attributes:
        authorization: the value of ``proxy-authorization``, or empty.
    """

    host: str
    port: int
    authorization: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"Proxy({self.host!r}, {self.port})"


class Route(NamedTuple):
    """What a connection leads to.

    Attributes:
        proxy: over which proxy.
        is_http: False for a proxy of another kind, such as SOCKS; its address is not looked at here.
    """

    tls: bool
    host: str
    port: int
    proxy: Proxy | None = None
    is_http: bool = True

    @property
    def authority(self) -> str:
        """Host and port as in a request."""
        return self.target.rpartition(":")[0] if self.port == _PORTS["https" if self.tls else "http"] else self.target

    @property
    def target(self) -> str:
        """Host and port, whatever the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_proxies() -> None:
    """Look at all proxies that the environment names, before libraries do that show what they cannot read.

    Raises:
        InputError: the address of one makes no sense.
    """
    proxies = getproxies()
    for scheme in (*_PORTS, "all"):
        if named := proxies.get(scheme):
            try:
                _proxy_at(named)
            except ValueError as error:
                raise InputError(str(error)) from None


def route_to(url: str) -> Route:
    """The route to `url`.

    Raises:
        ValueError: it is no ``http://`` or ``https://`` URL, or the proxy's address makes no sense.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Not quoted: what stands in the place of a port may be a password.
        raise ValueError("it is no http:// or https:// URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it is no http:// or https:// URL")
    try:
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    except UnicodeError:
        raise ValueError("the name of the host is no name") from None
    route = Route(parts.scheme == "https", host, port or _PORTS[parts.scheme])
    named = _proxy_for(parts.scheme, route)
    if not named:
        return route
    proxy = _proxy_at(named)
    return route._replace(is_http=False) if proxy is None else route._replace(proxy=proxy)


def _proxy_for(scheme: str, route: Route) -> str | None:
    proxies = getproxies()
    named = proxies.get(scheme) or proxies.get("all")
    if not named or proxy_bypass(f"{route.host}:{route.port}") or proxy_bypass(route.host):
        return None
    return None if _in_network(route.host, proxies.get("no", "")) else named


def _proxy_at(named: str) -> Proxy | None:
    """The proxy with this address, ``http://`` where it names no scheme; None for one that does not speak HTTP.

    Raises:
        ValueError: the address makes no sense; it is not shown, for a password may be in it.
    """
    try:
        address = urlsplit(named if "://" in named else f"http://{named}")
        host, port = address.hostname, address.port
    except ValueError:
        raise ValueError(
            "the address of the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY makes no sense; characters such as "
            "/, ? and # of a password must be written as %2F, %3F and %23"
        ) from None
    if address.scheme != "http" or not host:
        return None
    return Proxy(host, port or _PORTS["http"], _basic(address))


def _in_network(host: str, listed: str) -> bool:
    """Whether a host given as a number lies in one of the networks (``10.0.0.0/8``) of ``NO_PROXY``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in listed.split(","):
        try:
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def _basic(address: SplitResult) -> str:
    if address.username is None:
        return ""
    told = f"{unquote(address.username)}:{unquote(address.password or '')}"
    return f"Basic {base64.b64encode(told.encode()).decode()}"
