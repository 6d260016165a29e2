#!/usr/bin/env bash
# Compares the manager of this checkout with that of another commit, alternately:
#   hack/bench/against.sh COMMIT [flags of the bench]
# bin/bench is built, and KUBEBUILDER_ASSETS set, by `make bench-against`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

commit=${1:?usage: hack/bench/against.sh COMMIT [flags of the bench]}
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/sgp-against.XXXXXX")
trap 'git worktree remove --force "$work/other" 2>/dev/null || true; rm -rf "$work"; git worktree prune' EXIT
# A signal of the terminal reaches the bench too; the trap above waits for it.
trap 'exit 130' INT TERM

git worktree add --quiet --detach "$work/other" "$commit"
bin/bench --against "$work/other" "$@"
