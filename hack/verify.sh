#!/usr/bin/env bash
# Checks that everything a tool writes is current: generated code and manifests,
# formatting, go.mod and go.sum. Works on a copy of the tree, so that it changes
# nothing and takes uncommitted work as it is. Names each stale file and the make
# target that renews it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/sgp-verify.XXXXXX")
trap 'rm -rf "$work"' EXIT
before=$work/before after=$work/after
mkdir "$before"

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  # Tracked or new, but not ignored and not deleted.
  git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' f; do if [ -e "$f" ]; then printf '%s\0' "$f"; fi; done |
    tar -cf - --null -T - | tar -xf - -C "$before"
else
  tar -cf - --exclude ./bin --exclude ./.git . | tar -xf - -C "$before"
fi
cp -R "$before" "$after"

stale=0
for target in generate dashboards manifests docs fmt tidy; do
  echo "verify: make $target"
  if ! make -C "$after" --no-print-directory "$target" >"$work/log" 2>&1; then
    cat "$work/log"
    echo "verify: make $target failed"
    exit 1
  fi
  if ! diff -ruN "$before" "$after" >"$work/diff"; then
    stale=1
    sed -n "s|^+++ $after/\([^	]*\).*|verify: \1 is stale, run: make $target|p" "$work/diff"
    sed -e "s|$before/|a/|g" -e "s|$after/|b/|g" "$work/diff" | sed -n '1,60p'
    # So that the next target answers for its own changes only.
    rm -rf "$before"
    cp -R "$after" "$before"
  fi
done

if [ "$stale" -ne 0 ]; then
  echo "verify: stale files, see above"
  exit 1
fi
echo "verify: everything is current"
