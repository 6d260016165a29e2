// For the CRDs of Flux's sources. Nothing imports the module, which cannot be built: no
// go mod tidy here.
module github.com/sgp-operator/sgp-operator/hack/gitops/flux/sources

go 1.26.0

require github.com/fluxcd/source-controller v1.9.6
