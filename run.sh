#!/usr/bin/env bash
# One door to everything: sets up .venv once, then runs what is asked inside it.
#   ./run.sh                 the whole job on the built-in corpus
#   ./run.sh test            lint and tests
#   ./run.sh bench           speed side by side with peers, into docs/results/speed.md
#   ./run.sh onnx ...        export --format=onnx, in the environment that it needs
#   ./run.sh COMMAND ...     python -m genre_jax.COMMAND ..., as ./run.sh main --config=...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

venv=${GENRE_JAX_VENV:-.venv}
python=$venv/bin/python

set_up() {  # FOLDER REQUIREMENTS MEGABYTES: makes an environment, once for each state of the file
  local stamp base
  stamp=$1/installed-$(cksum <"$2" | tr -s ' ' -)
  if [ -e "$stamp" ]; then return; fi
  base=$(command -v python3.11 || command -v python3) || {
    echo "error: Python 3.11 is not on the PATH; install it first" >&2; exit 2; }
  "$base" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "error: genre_jax needs Python 3.11, $base is $("$base" -V)" >&2; exit 2; }
  echo "setting up $1 (once; about $3 MB of packages)"
  "$base" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
  touch "$stamp"
}

set_up "$venv" requirements.txt 700

case "${1-}" in
  "")
    for model in baseline tf_split; do
      "$python" -m genre_jax.main --config="experiments/synthetic.py:$model" \
        --workdir="runs/synthetic_$model"
    done
    "$python" -m genre_jax.table runs/synthetic_baseline runs/synthetic_tf_split
    ;;
  test)
    shift
    "$python" -m ruff check .
    "$python" -m pytest --numprocesses=2 "$@"
    ;;
  bench)
    shift
    set_up .venv-bench requirements-bench.txt 600
    set_up .venv-onnx requirements-onnx.txt 400
    "$python" -m benchmarks.run "$@"
    ;;
  onnx)
    shift
    set_up .venv-onnx requirements-onnx.txt 400
    .venv-onnx/bin/python -m genre_jax.export --format=onnx "$@"
    ;;
  *)
    command=$1
    shift
    case " main prepare table audit sweep compare pretrained protocol predict stream export page " in
      *" $command "*) "$python" -m "genre_jax.$command" "$@" ;;
      *)
        echo "error: no command $command; there are: test bench onnx main prepare table audit" \
          "sweep compare pretrained protocol predict stream export page" >&2
        exit 2
        ;;
    esac
    ;;
esac
