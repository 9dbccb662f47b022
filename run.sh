#!/usr/bin/env bash
# One door to everything: sets up .venv once, then runs what is asked inside it.
#   ./run.sh                 the whole job on the built-in corpus
#   ./run.sh test            lint and tests
#   ./run.sh COMMAND ...     python -m genre_jax.COMMAND ..., as ./run.sh main --config=...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

venv=${GENRE_JAX_VENV:-.venv}
stamp=$venv/installed-$(cksum <requirements.txt | tr -s ' ' -)
if [ ! -e "$stamp" ]; then
  python=$(command -v python3.11 || command -v python3) || {
    echo "error: Python 3.11 is not on the PATH; install it first" >&2; exit 2; }
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "error: genre_jax needs Python 3.11, $python is $("$python" -V)" >&2; exit 2; }
  echo "setting up $venv (once; about 700 MB of packages)"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  touch "$stamp"
fi
python=$venv/bin/python

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
  *)
    command=$1
    shift
    case " main prepare table audit sweep compare pretrained protocol predict stream export page " in
      *" $command "*) "$python" -m "genre_jax.$command" "$@" ;;
      *)
        echo "error: no command $command; there are: test main prepare table audit sweep compare" \
          "pretrained protocol predict stream export page" >&2
        exit 2
        ;;
    esac
    ;;
esac
