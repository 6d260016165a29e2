// Package states holds tests only: what kstatus, Flux and Argo CD make of every state
// that a resource can have, as internal/operator has recorded it from the API server.
// With -update they write what follows from the states: Argo CD's test files, its
// ConfigMap, and the table of docs/gitops.md.
package states
