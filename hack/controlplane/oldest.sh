#!/usr/bin/env bash
# Prints a folder with the oldest kube-apiserver that the operator is tested against, built
# from Go modules (hack/controlplane/oldest), once, and kept in the cache; etcd and kubectl
# are those of ensure.sh. Progress goes to standard error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
current=$("$here/ensure.sh")
cd "$here/oldest"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/sgp-operator/controlplane/$version-$(go env GOOS)-$(go env GOARCH)
if [ ! -x "$dir/kube-apiserver" ]; then
  echo "control plane: building kube-apiserver $version, about five minutes on two cores, once" >&2
  mkdir -p "$dir"
  minor=${version#v1.}; minor=${minor%%.*}
  CGO_ENABLED=0 go build -trimpath -o "$dir/kube-apiserver.new" \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor" \
    k8s.io/kubernetes/cmd/kube-apiserver >&2
  mv "$dir/kube-apiserver.new" "$dir/kube-apiserver"
fi
cp "$current/etcd" "$current/kubectl" "$dir/"
echo "$dir"
