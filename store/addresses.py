"""Addresses: whether they can only mean this machine, and how they are told to people."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(url: str) -> str:
    """The host of a URL; "" where it has none, or is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def without_password(url: str) -> str:
    """A URL as it may be logged: without name, password and query, which may hold a password too.

    A password may have been written unquoted; so all up to the last @ is left out.
    """
    scheme, separator, rest = url.partition("://")
    return scheme + separator + re.sub(r"\?\w+=.*", "", rest).rpartition("@")[2]
