"""Refuse requests that another site makes a visitor's browser send to the page."""

import urllib.parse

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SameOrigin:
  """ASGI middleware that checks the headers Host and Origin.

  A request that changes something must come from the page itself. On an address of this machine
  alone, the header Host must name it: a foreign name that resolves to this machine (DNS rebinding)
  would give a foreign site the rights of the page.

  Args:
    app: The application.
    host: Address on which the page listens.
  """

  def __init__(self, app, host: str):
    self._app, self._local = app, host in LOOPBACK

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
      if linked or (foreign and not reads) or (self._local and _name(host) not in LOOPBACK):
        return await _refuse(scope, send)
    return await self._app(scope, receive, send)


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
  await send({"type": "http.response.body", "body": b"This request comes from another site.\n"})
