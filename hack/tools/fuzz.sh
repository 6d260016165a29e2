#!/usr/bin/env bash
# Runs every fuzz target of the repository for a while, one after the other,
# because go test takes one at a time:
#   hack/tools/fuzz.sh [duration]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

duration=${1:-10s}
found=0
for package in $(go list ./...); do
  for target in $(cd "$(go list -f '{{.Dir}}' "$package")" && { grep -hoE '^func Fuzz[A-Za-z0-9_]+' ./*_test.go 2>/dev/null || true; } | sed 's/^func //'); do
    found=$((found + 1))
    echo "fuzz: $package $target for $duration"
    go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$duration"
  done
done
echo "fuzz: $found targets, nothing found"
