#!/usr/bin/env bash
# Runs the micro-benchmarks and holds the figures against the committed ones:
#   hack/bench/micro.sh [pattern] [count]
# All of them together become docs/benchmarks/micro.txt and micro.md, so that a
# commit shows what it costs. A part of them is only compared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

pattern=${1:-.}
count=${2:-6}
kept=docs/benchmarks/micro.txt

benchstat=$(hack/tools/ensure.sh benchstat)
work=$(mktemp -d "${TMPDIR:-/tmp}/sgp-micro.XXXXXX")
trap 'rm -rf "$work"' EXIT

go test -run '^$' -bench "$pattern" -benchmem -count "$count" \
  ./internal/ecs ./internal/ratelimit ./internal/claims ./controllers/securitygrouppolicy | tee "$work/log"
# What else go test says differs from run to run.
sed -nE -e 's/ +$//' -e '/^((goos|goarch|pkg|cpu): |Benchmark)/p' "$work/log" >"$work/new"
grep -q '^Benchmark' "$work/new" || { echo "micro: no benchmark is called $pattern" >&2; exit 1; }

if git show "HEAD:$kept" >"$work/all" 2>/dev/null; then
  # Only those that were run now.
  awk 'NR == FNR { ran[$1]; next } !/^Benchmark/ || $1 in ran' "$work/new" "$work/all" >"$work/committed"
  "$benchstat" committed="$work/committed" new="$work/new"
fi
if [ "$pattern" != . ]; then
  exit 0
fi
cp "$work/new" "$kept"
{
  echo "# Micro-benchmarks"
  echo
  echo "The figures of [micro.txt](micro.txt) by benchstat: the median of $count runs each with its 95 % confidence interval."
  echo "[README.md](README.md#micro-benchmarks) tells what each of them measures. \`make bench-micro\` writes both files."
  echo
  echo '```'
  (cd docs/benchmarks && "$benchstat" micro.txt)
  echo '```'
} >"$work/md"
cp "$work/md" docs/benchmarks/micro.md
echo "micro: wrote $kept and docs/benchmarks/micro.md"
