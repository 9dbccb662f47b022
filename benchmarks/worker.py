"""Run one contender in its own process: `python -m benchmarks.worker SUITE NAME one|all`.

`benchmarks.run` starts it in the contender's environment. Requests and replies are lines of JSON on
standard input and output:

    {"do": "setup", "output": FILE.npy}  ->  {"output": true | false, "seconds": S}  of a first call
    {"do": "time", "calls": N}           ->  {"seconds": S}  of one call, the mean of N
                                             {"error": REASON}  to either
"""

import contextlib
import importlib
import json
import os
import sys
import time

import numpy as np


def main(suite: str, name: str, threads: str) -> None:
  """Process requests until standard input ends; with threads 'one' use one core."""
  if threads == "one":  # libraries start their threads later and count the remaining cores
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  # Output of libraries goes to standard error, so that standard output has only replies.
  replies = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  run = None
  for line in sys.stdin:
    request = json.loads(line)
    try:
      with contextlib.redirect_stdout(sys.stderr):
        if request["do"] == "setup":
          run = importlib.import_module(suite).CONTENDERS[name].setup()
          begun = time.perf_counter()
          output = run()
          reply = {"output": output is not None, "seconds": time.perf_counter() - begun}
          if output is not None:
            np.save(request["output"], np.asarray(output))
        else:
          begun = time.perf_counter()
          for _ in range(request["calls"]):
            run()
          reply = {"seconds": (time.perf_counter() - begun) / request["calls"]}
    except Exception as error:  # a failing contender must not stop the others
      reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
