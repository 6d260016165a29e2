package main

import (
	"slices"
	"time"
)

// quantile of values, which it sorts.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

// median of values, which it sorts: of two in the middle it is their mean.
func median(values []float64) float64 {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// perSecond counts the calls of an action in each second from a time on, every
// call if the action is empty. The last, incomplete second is left out.
func perSecond(calls []call, action string, from, to time.Time) []int {
	if to.Before(from) {
		return nil
	}
	bins := make([]int, int(to.Sub(from)/time.Second))
	for _, c := range calls {
		at := time.UnixMicro(c.At).Sub(from)
		if i := int(at / time.Second); at >= 0 && i < len(bins) && (action == "" || c.Action == action) {
			bins[i]++
		}
	}
	return bins
}

func count(calls []call, action string) int {
	n := 0
	for _, c := range calls {
		if c.Action == action {
			n++
		}
	}
	return n
}

// refused counts the calls that did not succeed.
func refused(calls []call) int {
	n := 0
	for _, c := range calls {
		if c.Status >= 300 {
			n++
		}
	}
	return n
}

// spread tells how evenly the calls of each second lie around their mean.
type spread struct {
	Mean, Most, Least float64
	// P99 is what 99 of 100 seconds do not exceed.
	P99 float64
}

func spreadOf(bins []int) spread {
	if len(bins) == 0 {
		return spread{}
	}
	values := make([]float64, len(bins))
	sum := 0.0
	for i, n := range bins {
		values[i] = float64(n)
		sum += float64(n)
	}
	return spread{Mean: sum / float64(len(bins)), Most: float64(slices.Max(bins)), Least: float64(slices.Min(bins)), P99: quantile(values, 0.99)}
}

// mostShare is the busiest second as a multiple of the mean.
func (s spread) mostShare() float64 {
	if s.Mean == 0 {
		return 0
	}
	return s.Most / s.Mean
}
