"""Define the flags of the commands that serve a page."""

import dataclasses

from absl import flags

flags.disclaim_key_flags()  # the flags belong to the module of the command


@dataclasses.dataclass(frozen=True)
class ServeOptions:
  """Where a page is served, and what visitors may drop on it.

  Attributes:
    host: Address to listen on.
    port: Port to listen on; 0 for a free one.
    max_megabytes: Largest file.
    max_minutes: Longest file.
    host_names: Names by which browsers reach the page, beside addresses and private names.
  """

  host: str
  port: int
  max_megabytes: int
  max_minutes: float
  host_names: list[str]


class ServeFlags:
  """The flags --host, --port, --max_megabytes, --max_minutes and --host_names.

  Args:
    port: Default port.
    prefix: Beginning of the descriptions, as 'serve: '.
  """

  def __init__(self, port: int, prefix: str = ""):
    self._host = flags.DEFINE_string(
      "host", "127.0.0.1", f"{prefix}Address to listen on; 0.0.0.0 accepts other machines."
    )
    self._port = flags.DEFINE_integer(
      "port",
      port,
      f"{prefix}Port to listen on; 0: a free one.",
      lower_bound=0,
      upper_bound=65535,
    )
    self._max_megabytes = flags.DEFINE_integer(
      "max_megabytes", 200, f"{prefix}Largest file to drop on the page, in MB.", lower_bound=1
    )
    self._max_minutes = flags.DEFINE_float(
      "max_minutes",
      60.0,
      f"{prefix}Longest sound that is predicted over time, in minutes.",
      lower_bound=0.1,
    )
    self._host_names = flags.DEFINE_list(
      "host_names",
      [],
      f"{prefix}Names by which browsers reach the page, as music.example.org of a proxy. Addresses"
      " and names of private networks need not be given.",
    )

  @property
  def options(self) -> ServeOptions:
    """What the command line gives."""
    return ServeOptions(
      self._host.value,
      self._port.value,
      self._max_megabytes.value,
      self._max_minutes.value,
      self._host_names.value,
    )
