//go:build tools

// Package controlplane pins the modules that the local control plane is built
// from: kube-apiserver, kubectl and etcd. No other package may import it.
package controlplane

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
