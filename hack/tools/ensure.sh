#!/usr/bin/env bash
# Prints the path of a development tool, and builds it first if need be:
#   hack/tools/ensure.sh controller-gen | crd-ref-docs | golangci-lint | benchstat | gremlins | govulncheck | validate-krew-manifest | cyclonedx-gomod | kustomize-controller
# The version comes from the go.mod that pins it. The result lies in the user's
# cache, so that every clone and CI share it. Progress goes to standard error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:?usage: hack/tools/ensure.sh controller-gen | crd-ref-docs | golangci-lint | benchstat | gremlins | govulncheck | validate-krew-manifest | cyclonedx-gomod | kustomize-controller}
say() { echo "$name: $*" >&2; }

case $name in
  controller-gen)
    module=$here; path=sigs.k8s.io/controller-tools; package=$path/cmd/controller-gen
    takes="under a minute" ;;
  crd-ref-docs)
    module=$here; path=github.com/elastic/crd-ref-docs; package=$path
    takes="under a minute" ;;
  golangci-lint)
    module=$here/../lint; path=github.com/golangci/golangci-lint/v2; package=$path/cmd/golangci-lint
    takes="about five minutes on two cores" ;;
  benchstat)
    module=$here; path=golang.org/x/perf; package=$path/cmd/benchstat
    takes="under a minute" ;;
  gremlins)
    module=$here; path=github.com/go-gremlins/gremlins; package=$path/cmd/gremlins
    takes="under a minute" ;;
  govulncheck)
    module=$here; path=golang.org/x/vuln; package=$path/cmd/govulncheck
    takes="under a minute" ;;
  validate-krew-manifest)
    module=$here/../krew/validate; path=sigs.k8s.io/krew; package=$path/cmd/validate-krew-manifest
    takes="under a minute" ;;
  cyclonedx-gomod)
    module=$here; path=github.com/CycloneDX/cyclonedx-gomod; package=$path/cmd/cyclonedx-gomod
    takes="under a minute" ;;
  kustomize-controller)
    module=$here/../gitops/flux; path=github.com/fluxcd/kustomize-controller; package=$path
    takes="about three minutes on two cores" ;;
  *)
    say "unknown tool"
    exit 1 ;;
esac

cd "$module"
version=$(go list -m -f '{{.Version}}' "$path")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sgp-operator/tools
# With the Go version in the key, because a linter built with an older Go refuses
# the code of a newer one.
tool=$cache/$name-$version-$(go env GOVERSION)-$(go env GOHOSTOS)-$(go env GOHOSTARCH)
if [ ! -x "$tool" ]; then
  mkdir -p "$cache"
  say "building $version from its Go module, once: $takes"
  start=$SECONDS
  work=$(mktemp -d "$cache/tmp.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # For this machine, whatever platform the caller builds for.
  GOOS='' GOARCH='' CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/$name" "$package" &
  pid=$!
  trap 'kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM
  tick=0
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    tick=$((tick + 1))
    [ $((tick % 15)) -ne 0 ] || say "still building ($((SECONDS - start)) s)"
  done
  wait "$pid"
  mv "$work/$name" "$tool"
  say "built in $((SECONDS - start)) s, kept as $tool"
fi
echo "$tool"
