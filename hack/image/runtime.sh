#!/usr/bin/env bash
# Prints a folder that holds umoci and runc: those of the caller's PATH, else Debian's
# packages, unpacked into the cache and not installed.
set -euo pipefail

if found=$(command -v umoci) && command -v runc >/dev/null; then
  dirname "$found"
  exit
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sgp-operator/container-tools
if ! { [[ -x $cache/bin/umoci ]] && [[ -x $cache/bin/runc ]]; }; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/bin"
  (cd "$work" && apt-get -q download umoci runc >&2 && for p in ./*.deb; do dpkg-deb -x "$p" package; done)
  cp "$work/package/usr/bin/umoci" "$work"/package/usr/sbin/runc "$work/bin/"
  "$work/bin/runc" --version >/dev/null
  "$work/bin/umoci" --version >/dev/null
  rm -rf "$cache/bin"
  mv "$work/bin" "$cache/bin"
fi
echo "$cache/bin"
