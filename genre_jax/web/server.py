"""Listen on an address and serve an application until Ctrl-C."""

import socket

import uvicorn
from fastapi import FastAPI

from genre_jax.errors import UserError

END_SECONDS = 2  # for requests that are being answered at the end
MAX_MESSAGE = 1 << 20  # bytes, from a microphone
MAX_CONNECTIONS = 512  # more are answered with status 503; a browser opens about six


def listen(host: str, port: int) -> socket.socket:
  """Return a socket that listens.

  Args:
    host: Address.
    port: Port.

  Raises:
    UserError: If the address or the port cannot be used.
  """
  try:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=256)
  except OSError as error:
    raise UserError(
      f"--host={host} --port={port}: cannot listen there ({error.strerror}); give an address of"
      " this machine and a port that no other program uses"
    ) from error


def serve(app: FastAPI, listener: socket.socket, host: str) -> None:
  """Print the address of the page and serve it until Ctrl-C.

  Args:
    app: The application.
    listener: Of `listen`.
    host: Its address as the user gave it.
  """
  name = f"[{host}]" if ":" in host else host
  print(f"http://{name}:{listener.getsockname()[1]}  (Ctrl-C stops it)", flush=True)
  config = uvicorn.Config(
    app,
    log_level="error",
    access_log=False,
    lifespan="off",
    server_header=False,
    timeout_graceful_shutdown=END_SECONDS,
    ws_max_size=MAX_MESSAGE,
    limit_concurrency=MAX_CONNECTIONS,
  )
  uvicorn.Server(config).run(sockets=[listener])
