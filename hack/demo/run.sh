#!/usr/bin/env bash
# Builds what the demo shows and starts it; see `make demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { echo "demo: $*"; }

# patiently WORDS COMMAND...: runs the command, and says so now and then while it
# takes its time.
patiently() {
  local words=$1 start=$SECONDS tick=0 pid
  shift
  say "$words"
  "$@" &
  pid=$!
  trap 'kill "$pid" 2>/dev/null || true' EXIT
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    tick=$((tick + 1))
    [ $((tick % 25)) -ne 0 ] || say "  still $words ($((SECONDS - start)) s)"
  done
  wait "$pid"
  trap - EXIT
}
trap 'exit 130' INT TERM

# With Go's own settings, to share what tests and linter have compiled already.
build() {
  go build -o bin/manager .
  go build -o bin/ ./hack/ecs-simulator ./hack/demo
}

patiently "fetching Go modules" go mod download
patiently "compiling the manager, the simulator and the demo" build
KUBEBUILDER_ASSETS=$(hack/controlplane/ensure.sh)
export KUBEBUILDER_ASSETS

# In place of this shell, so that a signal for it reaches the demo.
exec bin/demo
