package main

import (
	"context"
	"fmt"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// writes are the requests that the API server has carried out for the manager:
// nobody else writes status, claims or events here.
type writes struct {
	Status, Claims, Events, Conflicts float64
}

func (w writes) minus(v writes) writes {
	return writes{w.Status - v.Status, w.Claims - v.Claims, w.Events - v.Events, w.Conflicts - v.Conflicts}
}

// String is for the table.
func (w writes) String() string {
	return fmt.Sprintf("%s / %s / %s / %.0f", whole(int(w.Status)), whole(int(w.Claims)), whole(int(w.Events)), w.Conflicts)
}

// used is what was used up so far: processor time in seconds, by the manager and by
// the API server, and what the manager has done.
type used struct {
	CPU, APICPU, Passes float64
	// Writes are all that the API server has carried out for the manager, as the
	// latter has counted them: of any kind, also those that no other figure tells of.
	Writes float64
}

func (u used) minus(v used) used {
	return used{u.CPU - v.CPU, u.APICPU - v.APICPU, u.Passes - v.Passes, u.Writes - v.Writes}
}

// toAPI is the manager's processor time as a share of the API server's: unlike a
// time, it hardly depends on how fast the machine is at the moment.
func (u used) toAPI() float64 {
	if u.APICPU == 0 {
		return 0
	}
	return u.CPU / u.APICPU
}

// counts is how far everything has come at a moment.
type counts struct {
	writes
	used
}

func (c counts) minus(d counts) counts { return counts{c.writes.minus(d.writes), c.used.minus(d.used)} }

// count reads the counters of the API server and of a manager.
func (w *world) count(ctx context.Context, m *manager) (c counts, err error) {
	ofServer, err := w.cluster.Scrape(ctx)
	if err != nil {
		return c, err
	}
	ofManager, err := m.Scrape(ctx)
	if err != nil {
		return c, m.Failed(err)
	}
	if c.APICPU, err = ofServer.Value(rig.CPUSeconds); err != nil {
		return c, err
	}
	if c.CPU, err = ofManager.Value(rig.CPUSeconds); err != nil {
		return c, err
	}
	// A manager is ready a moment before its controllers start, and counts then.
	c.Passes = ofManager.Sum("controller_runtime_reconcile_total", rig.Labels{"controller": "securitygrouppolicy"})
	for of, n := range ofManager.Each("rest_client_requests_total") {
		if writing[of["method"]] && of["code"] < "300" {
			c.Writes += n
		}
	}
	for of, n := range ofServer.Each("apiserver_request_total") {
		if writing[of["verb"]] {
			c.add(of, n)
		}
	}
	return c, nil
}

// add adds requests to what they wrote.
func (w *writes) add(of rig.Labels, n float64) {
	resource := of["resource"]
	switch {
	case resource == "securitygrouppolicies" && of["code"] == "409":
		w.Conflicts += n
	case resource == "securitygrouppolicies" && of["subresource"] == "status":
		w.Status += n
	case resource == "securitygroupclaims" && of["code"] < "300":
		w.Claims += n
	case resource == "events":
		w.Events += n
	}
}

// writing are the methods and verbs that write.
var writing = map[string]bool{"POST": true, "PUT": true, "PATCH": true, "APPLY": true, "DELETE": true}
