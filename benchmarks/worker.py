"""A process that does one contestant's work: `python -m benchmarks.worker WORK NAME one|all`.

Started by `benchmarks.run` in the contestant's environment. Requests and answers are lines of JSON
on standard input and output:

    {"do": "setup", "output": FILE.npy}  ->  {"output": true | false}
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


def main(work: str, name: str, threads: str) -> None:
  """Answers until standard input ends; with 'one' of threads it stays on one core."""
  if threads == "one":  # libraries start their threads later and count the cores that are left
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  # Libraries print; what they print goes to standard error, the answers alone to standard output.
  predictions = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  run = None
  for line in sys.stdin:
    request = json.loads(line)
    try:
      with contextlib.redirect_stdout(sys.stderr):
        if request["do"] == "setup":
          run = importlib.import_module(work).CONTESTANTS[name].setup()
          output = run()
          prediction = {"output": output is not None}
          if output is not None:
            np.save(request["output"], np.asarray(output))
        else:
          begun = time.perf_counter()
          for _ in range(request["calls"]):
            run()
          prediction = {"seconds": (time.perf_counter() - begun) / request["calls"]}
    except Exception as error:  # whatever a contestant does, the others go on
      prediction = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(json.dumps(prediction), file=predictions, flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
