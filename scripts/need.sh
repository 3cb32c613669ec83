# shellcheck shell=bash
# Sourced: installs Debian packages where they are missing and where that is possible.

apt_ready=
# need WHAT PACKAGE TEST…: nothing to do when TEST succeeds.
need() {
  local what="$1" package="$2" try
  shift 2
  "$@" >/dev/null 2>&1 && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "$what is missing (Debian: apt-get install $package)" >&2
    return 1
  fi
  echo "installing $package …"
  for try in 1 2 3; do
    if [ -z "$apt_ready" ] && apt-get update -qq; then apt_ready=1; fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null && return 0
    echo "apt-get failed (try $try of 3)" >&2
    apt_ready=
    sleep $((try * 5))
  done
  return 1
}

need_python() {
  need "python3" python3 python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' &&
    need "Python's venv" python3-venv python3 -c 'import ensurepip, venv'
}

need_redis() {
  need "redis-server" redis-server redis-server --version
}

need_balancers() {
  need "haproxy" haproxy test -x /usr/sbin/haproxy &&
    need "nginx" nginx-light test -x /usr/sbin/nginx
}

# what tests/deploy/run.py starts or asks besides Redis and HAProxy; docker-compose is used where it is there
need_deploy() {
  need "openssl" openssl openssl version &&
    need "git" git git --version
}

need_browser() {
  need "node 20 or newer" nodejs node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' &&
    need "npm" npm npm --version &&
    need "Chromium" chromium test -x "${CHROMIUM:-/usr/bin/chromium}"
}
