// Package crd holds the CustomResourceDefinitions, for whoever checks manifests without
// a cluster.
package crd

import "embed"

// Bases are the files that are applied to clusters.
//
//go:embed bases/*.yaml
var Bases embed.FS
