module github.com/sgp-operator/sgp-operator/hack/gitops/flux/sources

go 1.26.0
