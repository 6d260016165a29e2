#!/usr/bin/env bash
# Prints a folder that holds prometheus and promtool: those of the caller's PATH, else
# Debian's package, unpacked into the cache and not installed, else built from the module
# in hack/observability/prometheus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if found=$(command -v promtool) && command -v prometheus >/dev/null; then
  dirname "$found"
  exit
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sgp-operator/prometheus
if ! { [[ -x $cache/bin/prometheus ]] && [[ -x $cache/bin/promtool ]]; }; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/bin"
  if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && (cd "$work" && apt-get -q download prometheus >&2) && dpkg-deb -x "$work"/prometheus_*.deb "$work/package"; then
    cp "$work/package/usr/bin/"{prometheus,promtool} "$work/bin/"
  else
    echo "no Debian package of Prometheus: building it from its module, about ten minutes" >&2
    (cd prometheus && CGO_ENABLED=0 go build -trimpath -o "$work/bin/" github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool) >&2
  fi
  rm -rf "$cache/bin"
  mv "$work/bin" "$cache/bin"
fi
echo "$cache/bin"
