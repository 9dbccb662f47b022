"""Limit what a request may send, and tell browsers that the page uses nothing from elsewhere."""

MAX_BODY_BYTES = 1 << 16
HEADERS = [
  (
    b"content-security-policy",
    b"default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none';"
    b" base-uri 'none'; form-action 'none'",
  ),
  (b"x-content-type-options", b"nosniff"),
  (b"referrer-policy", b"no-referrer"),
  (b"cross-origin-resource-policy", b"same-origin"),
]


class SecurityHeaders:
  """ASGI middleware that adds HEADERS to each answer.

  Args:
    app: The application.
  """

  def __init__(self, app):
    self._app = app

  async def __call__(self, scope, receive, send):
    """Handle a request."""

    async def send_with_headers(message):
      if message["type"] == "http.response.start":
        message = {**message, "headers": [*message["headers"], *HEADERS]}
      await send(message)

    await self._app(scope, receive, send_with_headers)


class BodyLimit:
  """ASGI middleware that refuses bodies of requests that are long or of unknown length.

  Args:
    app: The application, which may read the whole body into memory.
    streamed: Paths whose bodies it reads in parts, with a limit of its own.
  """

  def __init__(self, app, streamed: tuple[str, ...]):
    self._app, self._streamed = app, streamed

  async def __call__(self, scope, receive, send):
    """Handle a request, or answer it with status 411 or 413."""
    if scope["type"] == "http" and scope["path"] not in self._streamed:
      headers = dict(scope["headers"])
      length = headers.get(b"content-length", b"0")
      status = 411 if b"transfer-encoding" in headers else 200
      if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        status = 413
      if status != 200:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"The request is too long.\n"})
        return
    await self._app(scope, receive, send)
