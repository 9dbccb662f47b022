"""End requests whose visitor has left, without an error."""


class IgnoreDisconnect:
  """ASGI middleware that ends a request in silence if its visitor closes the connection.

  Otherwise the server logs a traceback for each upload that a visitor cancels.

  Args:
    app: The application.
  """

  def __init__(self, app):
    self._app = app

  async def __call__(self, scope, receive, send):
    """Handle a request."""
    from starlette.requests import ClientDisconnect  # gradio needs starlette

    try:
      await self._app(scope, receive, send)
    except ClientDisconnect:
      pass  # nobody is left to answer
