package main

import (
	"context"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// writes are the requests that the API server has carried out for the manager:
// nobody else writes status or events here.
type writes struct {
	Status, Events, Conflicts float64
}

func (w writes) minus(v writes) writes {
	return writes{w.Status - v.Status, w.Events - v.Events, w.Conflicts - v.Conflicts}
}

// countWrites asks the API server what it has been asked for.
func (w *world) countWrites(ctx context.Context) (n writes, err error) {
	metrics, err := w.cluster.Scrape(ctx)
	if err != nil {
		return n, err
	}
	for of, count := range metrics.Each("apiserver_request_total") {
		if !writing[of["verb"]] {
			continue
		}
		policies := of["resource"] == "securitygrouppolicies"
		switch {
		case policies && of["code"] == "409":
			n.Conflicts += count
		case policies && of["subresource"] == "status":
			n.Status += count
		case of["resource"] == "events":
			n.Events += count
		}
	}
	return n, nil
}

var writing = map[string]bool{"POST": true, "PUT": true, "PATCH": true, "APPLY": true}

// used is what the manager has used up so far: processor time in seconds, and
// passes over resources.
type used struct{ CPU, Passes float64 }

func (u used) minus(v used) used { return used{u.CPU - v.CPU, u.Passes - v.Passes} }

func (m *manager) used(ctx context.Context) (u used, err error) {
	metrics, err := m.Scrape(ctx)
	if err == nil {
		u.CPU, err = metrics.Value(rig.CPUSeconds)
	}
	if err != nil {
		return u, m.Failed(err)
	}
	// A manager is ready a moment before its controllers start, and counts then.
	u.Passes = metrics.Sum("controller_runtime_reconcile_total", rig.Labels{"controller": "securitygrouppolicy"})
	return u, nil
}
