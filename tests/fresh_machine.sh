#!/bin/sh
# Proves: git clone, make demo, make test on a machine with Python and make only, as root and as a normal user.
#
#   tests/fresh_machine.sh [target ...]      the targets of make; default: demo test
#
# It clones what is committed, hides PostgreSQL and Docker, and runs make with an empty home, an empty temporary
# directory and an environment of nothing but PATH, HOME, TMPDIR and what pip needs to reach its index. As root it runs
# everything twice, as root and as $FRESH_USER (default: nobody); as anybody else once, as that user.
# $PYTHON names the interpreter, which both users must be able to run; default: the first fitting one in the PATH below.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
user=${FRESH_USER:-nobody}
path=/usr/local/bin:/usr/bin:/bin
me=$(id -u)

# Root hides things by mounts that only this process and its children see.
if [ "$me" = 0 ] && [ -z "${FRESH_HIDDEN:-}" ]; then
    FRESH_HIDDEN=1 exec unshare --mount --propagation private sh "$0" "$@"
fi
[ $# -gt 0 ] || set -- demo test
network=$(env | grep -E '^(PIP_[A-Z_]*|(https?|no)_proxy|(HTTPS?|NO)_PROXY|SSL_CERT_FILE)=[^ ]*$' || true)

hide() { # what is there: a directory by an empty one, a program or socket by something nobody can run or reach
    if [ -d "$1" ]; then mount -t tmpfs -o size=4k none "$1"; elif [ -e "$1" ]; then mount --bind /dev/null "$1"; fi
}
if [ "$me" = 0 ]; then
    for place in /usr/lib/postgresql /usr/pgsql-* /usr/libexec/postgresql* /usr/local/pgsql /var/run/docker.sock \
        $(echo "$path" | tr : '\n' | sed 's,.*,&/postgres\n&/initdb\n&/pg_ctl\n&/docker,'); do
        hide "$place"
    done
fi
for program in postgres initdb pg_ctl docker; do
    ! found=$(PATH=$path command -v $program) || { echo "$found is in the way; only root can hide it" >&2 && exit 1; }
done
if ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null; then
    echo "PostgreSQL is in the way, and only root can hide it" >&2
    exit 1
fi

top=$(mktemp -d /var/tmp/oban-fresh-XXXXXX)
trap 'rm -rf "$top"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$top"

as() { # user, command ...
    who=$1
    shift
    if [ "$(id -u "$who")" = "$me" ]; then "$@"; else
        setpriv --reuid "$(id -u "$who")" --regid "$(id -g "$who")" --clear-groups "$@"
    fi
}

run() { # as user, the targets ...
    who=$1
    shift
    mkdir "$top/$who" "$top/$who/home" "$top/$who/tmp"
    git clone --quiet --no-hardlinks "$repository" "$top/$who/clone"
    [ "$me" != 0 ] || chown -R "$who:$(id -g "$who")" "$top/$who"
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        fits='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
        if (cd / && as "$who" env PATH="$path" "$python" -c "$fits") 2>/dev/null; then break; else python=; fi
    done
    [ -n "$python" ] || { echo "$who can run no Python 3.11 or newer with venv; set PYTHON" >&2 && exit 1; }
    for target; do
        echo "== $who: make $target =="
        (cd "$top/$who/clone" && as "$who" env -i PATH="$path" HOME="$top/$who/home" TMPDIR="$top/$who/tmp" \
            PYTHON="$python" LANG=C.UTF-8 DOCKER_HOST=unix:///nowhere $network make "$target" </dev/null)
    done
    for _ in 1 2 3 4 5; do ls -d "$top/$who/tmp"/oban-pg-* >/dev/null 2>&1 || return 0; sleep 1; done
    echo "$who: a server was left behind in $top/$who/tmp" >&2
    exit 1
}

run "$(id -un)" "$@"
[ "$me" != 0 ] || run "$user" "$@"
echo "== all of it worked: $* =="
