package ratelimit

import (
	"hash/fnv"
	"time"
)

// Spread is the wait until id is observed next. Each id has a place of its own
// within the interval, and moves towards it by up to a quarter of the interval at a
// time: however the observations began, or the process restarted, they are soon spread
// evenly, and stay so.
func Spread(id string, now time.Time, interval time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	place := time.Duration(h.Sum64() % uint64(interval))           //nolint:gosec // positive
	ahead := place - time.Duration(now.UnixNano()%int64(interval)) // of the present time within the interval
	if ahead > interval/2 {
		ahead -= interval
	}
	if ahead < -interval/2 {
		ahead += interval
	}
	return interval + min(max(ahead, -interval/4), interval/4)
}
