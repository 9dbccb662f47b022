"""Tell browsers that the page uses nothing from other machines, and may not be framed."""

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
