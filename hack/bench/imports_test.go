package main

import (
	"strings"
	"testing"
	"time"
)

func TestAnImportThatBreaksItsPromiseFails(t *testing.T) {
	const burst = 20
	sized := func(groups int, rss float64) *imported {
		return &imported{groups: groups, qps: unlimited, reads: groups, reading: time.Second, peakRSS: rss}
	}
	// 5,000 reads less the burst, at 200 per second, take 24.9 seconds.
	limited := func(took time.Duration, granted float64) *imported {
		return &imported{groups: 5000, qps: 200, granted: granted, reads: 5000, reading: took}
	}
	for _, c := range []struct {
		what  string
		cases []*imported
		want  string
	}{
		{"as promised", []*imported{limited(25*time.Second, 0), limited(52*time.Second, 100), sized(5000, 60<<20), sized(20000, 70<<20), sized(50000, 90<<20)}, ""},
		{"a slow one", []*imported{limited(27*time.Second, 0), sized(5000, 60<<20), sized(20000, 70<<20), sized(50000, 90<<20)}, "uses 92.2 % of its limit"},
		{"one that is slow at a learned limit", []*imported{limited(54*time.Second, 100), sized(5000, 60<<20), sized(20000, 70<<20), sized(50000, 90<<20)}, "uses 92.2 %"},
		{"one that holds answers", []*imported{sized(5000, 60<<20), sized(20000, 90<<20), sized(50000, 150<<20)}, "each group more takes 2.05 KiB"},
	} {
		switch err := promised(c.cases, burst); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}
