//go:build !race

package ratelimit

// shorter: a simulated day is a day.
const shorter = 1
