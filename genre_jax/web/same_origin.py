"""Refuse requests that another site makes a visitor's browser send to the page."""

import ipaddress
import urllib.parse
from collections.abc import Collection

LOOPBACK = ("127.0.0.1", "localhost", "::1")
REFUSAL = (
  b"This request comes from another site, or under a name that the page does not know"
  b" (--host_names).\n"
)
# Names under these exist in no public name service (RFC 6761, 6762, 8375 and ICANN's list).
PRIVATE = (".localhost", ".local", ".home.arpa", ".internal")


class SameOrigin:
  """ASGI middleware that checks the headers Host and Origin.

  A request that changes something must come from the page itself. The header Host must not be a
  name that a foreign site can own: one that resolves to this machine (DNS rebinding) would give
  that site the rights of the page. On an address of this machine alone, only its own names are
  left; otherwise addresses, names without a dot, names of private networks, and those that the user
  gave.

  Args:
    app: The application.
    host: Address on which the page listens.
    names: Further names by which browsers reach the page.
  """

  def __init__(self, app, host: str, names: Collection[str] = ()):
    self._app, self._local = app, host in LOOPBACK
    self._names = {name.lower() for name in (*names, host)}

  async def __call__(self, scope, receive, send):
    """Handle a request, or answer it with status 403."""
    if scope["type"] in ("http", "websocket"):
      headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
      host = headers.get("host", "")
      origin = headers.get("origin")
      foreign = origin is not None and origin.partition("://")[2] != host
      reads = scope.get("method") in ("GET", "HEAD")
      # A link of another site may lead to the page; it may request nothing else, as a picture.
      linked = headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/"
      if linked or (foreign and not reads) or not self._is_ours(_name(host)):
        return await _refuse(scope, send)
    return await self._app(scope, receive, send)

  def _is_ours(self, name: str) -> bool:
    if name in LOOPBACK or name in self._names:
      return True
    if self._local or not name:
      return False
    try:
      ipaddress.ip_address(name)
    except ValueError:
      return "." not in name or name.endswith(PRIVATE)
    return True


def _name(host: str) -> str:
  """Return the name of a Host header without its port; '' if it is malformed."""
  try:
    return urllib.parse.urlsplit(f"//{host}").hostname or ""
  except ValueError:
    return ""


async def _refuse(scope, send):
  if scope["type"] == "websocket":
    await send({"type": "websocket.close", "code": 1008})
    return
  headers = [(b"content-type", b"text/plain")]
  await send({"type": "http.response.start", "status": 403, "headers": headers})
  await send({"type": "http.response.body", "body": REFUSAL})
