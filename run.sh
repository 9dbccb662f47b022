#!/usr/bin/env bash
# Set up .venv once, then run a command inside it.
#   ./run.sh                 prepare, train and evaluate two networks on the built-in corpus
#   ./run.sh test [--slow]   check format, lint, types and imports, then run the tests
#   ./run.sh bench           measure speed beside peers
#   ./run.sh docs            build the documentation into site/
#   ./run.sh onnx ...        export --format=onnx, in the environment that it needs
#   ./run.sh COMMAND ...     genre-jax COMMAND ..., as ./run.sh main --config=...
# Relative paths in the arguments of COMMAND and onnx are relative to the folder of the caller.
set -euo pipefail

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do  # a link in a folder of the PATH
  link=$(readlink "$script")
  case $link in /*) script=$link ;; *) script=$(dirname "$script")/$link ;; esac
done
root=$(CDPATH='' cd -- "$(dirname "$script")" && pwd)
caller=$PWD
cd "$root"

venv=${GENRE_JAX_VENV:-.venv}
case $venv in /*) ;; *) venv=$root/$venv ;; esac
python=$venv/bin/python
base=

find_python() {  # sets base to a Python that is supported
  local name
  for name in ${GENRE_JAX_PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        2>/dev/null; then
      base=$name
      return
    fi
  done
  echo "error: genre_jax needs Python 3.11, 3.12 or 3.13, and none is on the PATH" >&2
  exit 2
}

set_up() {  # FOLDER REQUIREMENTS MEGABYTES: makes an environment, once for each state of the file
  local stamp
  stamp=$1/installed-$(cksum <"$2" | tr -s ' ' -)
  if [ -e "$stamp" ]; then return; fi
  find_python
  echo "setting up $1 with $("$base" -V) (once; about $3 MB of packages)"
  "$base" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
  touch "$stamp"
}

run_command() {  # PYTHON ARGUMENTS...: runs a command of this checkout in the caller's folder
  local interpreter=$1
  shift
  cd "$caller"
  # -P: a folder of the caller does not hide modules.
  PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$interpreter" -P -m genre_jax "$@"
}

case "${1-}" in docs | onnx) ;; *) set_up "$venv" requirements.txt 700 ;; esac  # they have their own

case "${1-}" in
  "")
    for model in baseline split_cnn; do
      "$python" -m genre_jax.main --config="experiments/synthetic.py:$model" \
        --workdir="runs/synthetic_$model"
    done
    "$python" -m genre_jax.table runs/synthetic_baseline runs/synthetic_split_cnn
    ;;
  test)
    shift
    "$python" -m ruff format --check .
    "$python" -m ruff check .
    "$python" -m mypy
    "$python" -m pytest --numprocesses=2 --dist=worksteal "$@"
    ;;
  bench)
    shift
    set_up .venv-bench requirements-bench.txt 600
    set_up .venv-onnx requirements-onnx.txt 400
    "$python" -m benchmarks.run "$@"
    ;;
  docs)
    set_up .venv-docs requirements-docs.txt 100
    .venv-docs/bin/python -m mkdocs build --strict
    ;;
  onnx)
    shift
    set_up .venv-onnx requirements-onnx.txt 400
    run_command "$root/.venv-onnx/bin/python" export --format=onnx "$@"
    ;;
  *)
    run_command "$python" "$@"
    ;;
esac
