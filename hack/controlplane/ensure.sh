#!/usr/bin/env bash
# Prints the folder that holds kube-apiserver, etcd and kubectl for this machine,
# and brings them there first if need be. Progress goes to standard error.
#
#   1. $KUBEBUILDER_ASSETS, if set.
#   2. The user's cache, by version: every clone and CI share it.
#   3. setup-envtest, where its download site can be reached.
#   4. A build from Go modules (see go.mod beside this file): about ten minutes
#      on two cores, once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "control plane: $*" >&2; }
complete() { [ -x "$1/kube-apiserver" ] && [ -x "$1/etcd" ] && [ -x "$1/kubectl" ]; }

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  if ! complete "$KUBEBUILDER_ASSETS"; then
    say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks kube-apiserver, etcd or kubectl; unset it or point it at a folder with all three"
    exit 1
  fi
  echo "$KUBEBUILDER_ASSETS"
  exit 0
fi

version=$(cd "$here" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sgp-operator/controlplane
dir=$cache/$version-$(go env GOOS)-$(go env GOARCH)
if complete "$dir"; then
  echo "$dir"
  exit 0
fi

minor=${version#v1.}; minor=${minor%%.*}
ldver=k8s.io/component-base/version

mkdir -p "$cache"
exec 9>"$cache/lock"
if command -v flock >/dev/null && ! flock -n 9; then
  say "another process is preparing it, waiting"
  flock 9
  if complete "$dir"; then
    echo "$dir"
    exit 0
  fi
fi

work=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The probe is bounded so that a closed network costs seconds; the download is not.
limit() { if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi; }
if [ "${CONTROLPLANE_BUILD:-}" != 1 ]; then
  say "asking setup-envtest for Kubernetes ${version#v}"
  (cd "$here/../tools" && go build -o "$work/setup-envtest" sigs.k8s.io/controller-runtime/tools/setup-envtest)
  if limit 8 "$work/setup-envtest" list "1.$minor.x" --bin-dir "$work/envtest" >/dev/null 2>&1 &&
    got=$("$work/setup-envtest" use "1.$minor.x" -p path --bin-dir "$work/envtest") && complete "$got"; then
    mkdir -p "$dir" && cp "$got"/* "$dir"/
    chmod -R u+w "$work"
    say "downloaded to $dir"
    echo "$dir"
    exit 0
  fi
  say "its download site cannot be reached from here; building from Go modules instead"
fi

start=$SECONDS
build() { # name package
  say "building $1 ($(((SECONDS - start) / 60)) min so far)"
  (cd "$here" && CGO_ENABLED=0 go build -trimpath -o "$work/$1" \
    -ldflags "-s -w -X $ldver.gitVersion=$version -X $ldver.gitMajor=1 -X $ldver.gitMinor=$minor" "$2") &
  local pid=$! tick=0
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    tick=$((tick + 1))
    [ $((tick % 30)) -ne 0 ] || say "still building $1 ($((SECONDS - start)) s)"
  done
  wait "$pid"
}
say "this takes about ten minutes on two cores, once; the result is kept in $dir"
build etcd go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kubectl k8s.io/kubernetes/cmd/kubectl
mkdir -p "$dir"
mv "$work/etcd" "$work/kube-apiserver" "$work/kubectl" "$dir"/
say "built in $(((SECONDS - start + 59) / 60)) min"
echo "$dir"
