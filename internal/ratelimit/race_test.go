//go:build race

package ratelimit

// shorter is by how much a simulated day is shorter under the race detector, which
// makes it ten times slower and has one goroutine to watch.
const shorter = 12
