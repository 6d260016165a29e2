// Package argocd holds tests only: the scripts of config/argocd, as users paste them, in
// Argo CD's own Lua machine. It is a module of its own, because Argo CD cannot be built
// without replacing versions of Kubernetes. 3.2 is the last release that names all it
// needs by versions that can be had.
package argocd
