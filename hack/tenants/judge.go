package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the others are promised beside a hostile tenant.
const (
	maxEdit = 5 * time.Second
	// maxDrift is two intervals: resyncs keep a fifth of ten calls per second.
	maxDrift = 2 * resync
	// maxObject is what an object of 1.3 MiB may cost the manager, a small one with its
	// passes and events included.
	maxObject = 20 << 10
)

// judge holds what was noticed against what is promised.
func (w *world) judge(ctx context.Context, others []*v1alpha1.SecurityGroupPolicy, h *hostility, n *noticed, grown float64) (broken []string, err error) {
	promise := func(kept bool, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		w.say("%s", text)
		if !kept {
			broken = append(broken, text)
		}
	}
	w.say("the hostile tenant has %d objects and made %d edits", h.objects, h.edits.Load())
	edits, drifts := sorted(n.edits), sorted(n.drifts)
	promise(last(edits) < maxEdit, "%d edits of the others were in the cloud after %v (median), %v (the last), %v promised", len(edits), middle(edits), last(edits), maxEdit)
	promise(last(drifts) < maxDrift, "%d changes by somebody else were put right after %v (median), %v (the last), %v promised", len(drifts), middle(drifts), last(drifts), maxDrift)
	promise(n.hanging <= workers/4, "%d calls to a silent region at a time, %d of %d workers promised", n.hanging, workers/4, workers)
	promise(w.unknownRegions() == 0, "%d calls to what is no region", w.unknownRegions())
	each := grown / float64(h.objects)
	promise(each < maxObject, "%.1f KiB of live memory for each object of the hostile tenant", each/1024)
	unready, err := w.unready(ctx, others)
	if err != nil {
		return nil, err
	}
	promise(len(unready) == 0, "%d of %d resources of the others are not in sync %v", len(unready), len(others), unready)
	for _, p := range others {
		if err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return nil, err
		}
		if e := p.Status.LastError; e != nil {
			promise(false, "%s/%s has an error: %+v", p.Namespace, p.Name, *e)
		}
	}
	return broken, nil
}

func sorted(all []time.Duration) []time.Duration { return slices.Sorted(slices.Values(all)) }

func middle(all []time.Duration) time.Duration { return all[len(all)/2].Round(time.Millisecond) }

func last(all []time.Duration) time.Duration { return all[len(all)-1].Round(time.Millisecond) }
