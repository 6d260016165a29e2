package ecssim

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// quotaKey is what ECS counts by.
type quotaKey struct{ account, region, action string }

// quotas holds the limits and what is used of them.
type quotas struct {
	limits []Limit
	used   []map[quotaKey]*usage
}

// usage is what one account has used of one limit in one region by one action.
type usage struct {
	window time.Time
	calls  int
	tokens float64
	at     time.Time
}

// SetLimits replaces all limits; what was used of the old ones is forgotten.
func (s *Server) SetLimits(limits []Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quotas.limits = append([]Limit(nil), limits...)
	s.quotas.used = make([]map[quotaKey]*usage, len(limits))
	for i := range s.quotas.used {
		s.quotas.used[i] = map[quotaKey]*usage{}
	}
}

// Consume uses up n calls of a quota, as another tool of the same account would.
// An empty account is DefaultAccount.
func (s *Server) Consume(account, region, action string, n int) {
	if account == "" {
		account = DefaultAccount
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, now := quotaKey{account, region, action}, s.now()
	for i, limit := range s.quotas.limits {
		if limit.matches(key) {
			u := s.quotas.usage(i, key, now)
			u.calls += n
			u.tokens -= float64(n)
		}
	}
}

func (l Limit) matches(key quotaKey) bool {
	return (l.Account == "" || l.Account == key.account) &&
		(l.Region == "" || l.Region == key.region) && (l.Action == "" || l.Action == key.action)
}

func (l Limit) window() time.Duration {
	if l.Window > 0 {
		return l.Window
	}
	return time.Minute
}

func (l Limit) burst() float64 { return math.Max(1, float64(l.Burst)) }

// usage returns what is used of a limit at a moment.
func (q *quotas) usage(i int, key quotaKey, now time.Time) *usage {
	limit := q.limits[i]
	u := q.used[i][key]
	if u == nil {
		u = &usage{tokens: limit.burst(), at: now}
		q.used[i][key] = u
	}
	if window := now.Truncate(limit.window()); !window.Equal(u.window) {
		u.window, u.calls = window, 0
	}
	if elapsed := now.Sub(u.at); elapsed > 0 {
		u.tokens = math.Min(limit.burst(), u.tokens+elapsed.Seconds()*limit.QPS)
	}
	u.at = now
	return u
}

// take counts a call against every limit that it falls under. A refused call
// uses nothing.
func (q *quotas) take(now time.Time, key quotaKey) *apiError {
	var spent []*usage
	for i, limit := range q.limits {
		if !limit.matches(key) {
			continue
		}
		u := q.usage(i, key, now)
		if limit.PerWindow > 0 && u.calls >= limit.PerWindow {
			return limit.refusal(limit.PerWindow, u.window.Add(limit.window()).Sub(now))
		}
		if limit.QPS > 0 && u.tokens < 1 {
			return limit.refusal(int(math.Ceil(limit.QPS)), time.Duration((1-u.tokens)/limit.QPS*float64(time.Second)))
		}
		spent = append(spent, u)
	}
	for _, u := range spent {
		u.calls++
		u.tokens--
	}
	return nil
}

func (l Limit) refusal(size int, wait time.Duration) *apiError {
	code := l.Code
	if code == "" {
		code = "Throttling.User"
	}
	refusal := refuse(400, code, "Request was denied due to user flow control.")
	refusal.header = map[string]string{}
	millis := strconv.FormatInt(int64(math.Ceil(float64(wait)/float64(time.Millisecond))), 10)
	if l.RetryAfter {
		refusal.header["Retry-After"] = strconv.Itoa(int(math.Ceil(wait.Seconds())))
	}
	if l.AcsRetryAfter {
		refusal.header["x-acs-retry-after"] = millis
	}
	if l.RateLimitHeader {
		refusal.header["x-ratelimit-user-api"] = fmt.Sprintf("Limit:%d,Remain:0,TimeLeft:%s,Reset:%d", size, millis, size)
	}
	return refusal
}
