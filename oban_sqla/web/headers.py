"""The headers of every answer, and the requests that are refused whatever the operator may do."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
    "font-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
))  # fmt: skip
"""The Content-Security-Policy: nothing from another host, nothing inline."""

OF_PAGES = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "vary": "HX-Request",
}
OF_FILES = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "cache-control": "public, max-age=31536000, immutable",
}

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def comes_from_here(request: Request) -> bool:
    """Whether a page of this site has sent a form. A form without headers that say so is taken as foreign."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "")
    try:
        return bool(origin) and urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # not a URL
        return False


def names_loopback(request: Request) -> bool:
    """Whether the Host header names this machine. The DNS of a foreign name may point to this machine, too."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname in LOOPBACK
    except ValueError:  # the header is not a valid name
        return False
