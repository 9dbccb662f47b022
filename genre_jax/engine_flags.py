"""Define the flags by which several commands choose between this machine and a Ray cluster."""

from absl import flags

from genre_jax.errors import UserError

flags.disclaim_key_flags()  # the flags belong to the module of the command


class EngineFlags:
  """The flags --engine, --address and perhaps --workers of a command.

  Args:
    command: Name of the command in its group, as 'predict'; '' for a command without a group, which
      has no --workers.
  """

  def __init__(self, command: str = ""):
    prefix = f"{command}: this" if command else "This"
    self._engine = flags.DEFINE_enum(
      "engine", "pool", ["pool", "ray"], f"{prefix} machine (pool), or a Ray cluster."
    )
    self._address = flags.DEFINE_string(
      "address",
      "auto",
      f"{command} --engine=ray: ".lstrip()
      + "the cluster, HOST:PORT; auto: the one that this machine belongs to; local: start Ray on"
      " this machine for this command.",
    )
    self._workers = None
    if command:
      self._workers = flags.DEFINE_integer(
        "workers",
        0,
        f"{command} --engine=pool: files at a time, each with a process that decodes and a thread"
        " that predicts; 0: one per core.",
        lower_bound=0,
      )

  @property
  def address(self) -> str:
    """Value of --address."""
    return self._address.value

  @property
  def workers(self) -> int:
    """Value of --workers; 0 for a command without it."""
    return self._workers.value if self._workers is not None else 0

  def is_ray(self, *ray_only: flags.FlagHolder) -> bool:
    """Return whether --engine=ray was given, and Ray is installed.

    Args:
      *ray_only: Further flags that --engine=pool does not take.

    Raises:
      UserError: If a flag of the other engine was given, or Ray is not installed.
    """
    for engine, holders in (("ray", (self._address, *ray_only)), ("pool", (self._workers,))):
      for flag in holders:
        if flag is not None and flag.present and self._engine.value != engine:
          raise UserError(f"--{flag.name} needs --engine={engine}: leave it out")
    if self._engine.value == "pool":
      return False
    from genre_jax.distributed import ray_engine

    ray_engine.import_ray()  # before anything is written
    return True
