package cli

import (
	"cmp"
	"context"
	"errors"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// selection says which groups are wanted.
type selection struct {
	regions []string
	vpc     string
	tags    map[string]*string // nil: any value
	name    string             // a pattern; empty: any
}

// matches tells whether a group is wanted. Tags are compared here, since ECS reaches
// 1,000 groups at most by them, and answers them with every group anyway.
func (s *selection) matches(g *ecs.Listed) bool {
	for key, value := range s.tags {
		if has, ok := g.Tags[key]; !ok || value != nil && *value != has {
			return false
		}
	}
	if s.vpc != "" && g.VpcID != s.vpc {
		return false
	}
	if s.name == "" {
		return true
	}
	// A slash is a character like any other here.
	matched, err := path.Match(strings.ReplaceAll(s.name, "/", "\x00"), strings.ReplaceAll(g.Name, "/", "\x00"))
	return err == nil && matched
}

// group is one that was found, and what was read of it.
type group struct {
	region, id, name string
	owner            string // passed to ECS if it is set
	policy           string // empty: not read
	err              error  // why not
}

// failure is what could not be read.
type failure struct {
	region, id string // without an id: the list, or the rest of the region
	err        error
}

// found is what there is in the cloud.
type found struct {
	groups   []group // read, by region and id
	failures []failure
	// left out, by reason
	enterprise, managed, gone int
	// wanted is how many policies there were to read.
	wanted int
}

// fetch lists and reads the groups of a selection.
type fetch struct {
	client   *ecs.Client
	qps      float64
	progress *progress

	mu    sync.Mutex
	found found
}

// tally is what became of a region's reads.
type tally struct{ allowed, denied atomic.Int32 }

// maxDenied is how many groups of a region may be denied before the rest is given up,
// if none was allowed.
const maxDenied = 10

// run lists all regions and reads the groups, all regions side by side: each has a rate
// of its own. A failure is kept with the rest; errStopped says that there is no result.
func (f *fetch) run(ctx context.Context, s *selection) (*found, error) {
	f.progress.listing()
	defer f.progress.end()
	lists := make([][]group, len(s.regions))
	var wait sync.WaitGroup
	for i, region := range s.regions {
		wait.Go(func() { lists[i] = f.list(ctx, region, s) })
	}
	wait.Wait()
	if ctx.Err() != nil { // not all are known
		return &f.found, errStopped
	}
	for i, groups := range lists {
		f.found.wanted += len(groups)
		slices.SortFunc(lists[i], func(a, b group) int { return strings.Compare(a.id, b.id) })
	}
	f.progress.reading(f.found.wanted)
	f.readAll(ctx, lists)
	for _, groups := range lists {
		for _, g := range groups {
			if g.policy != "" {
				f.found.groups = append(f.found.groups, g)
			}
		}
	}
	slices.SortFunc(f.found.failures, func(a, b failure) int {
		return cmp.Or(strings.Compare(a.region, b.region), strings.Compare(a.id, b.id))
	})
	if ctx.Err() != nil {
		return &f.found, errStopped
	}
	return &f.found, nil
}

// readAll reads the groups of each region.
func (f *fetch) readAll(ctx context.Context, regions [][]group) {
	var wait sync.WaitGroup
	for _, groups := range regions {
		wait.Go(func() { f.read(ctx, groups) })
	}
	wait.Wait()
}

// list returns the groups of a region that are wanted and have a policy to read.
func (f *fetch) list(ctx context.Context, region string, s *selection) (groups []group) {
	listing := f.client.List(region, s.vpc)
	for !listing.Done() {
		var page []ecs.Listed
		err := persist(ctx, func() (wait time.Duration, err error) {
			page, wait, err = listing.Next(ctx, ratelimit.Edit)
			return wait, err
		})
		if err != nil {
			f.fail(failure{region: region, err: err})
			break // what was listed so far is read all the same
		}
		f.mu.Lock()
		for _, g := range page {
			switch {
			case !s.matches(&g):
			case g.Managed:
				f.found.managed++
			case g.Enterprise:
				f.found.enterprise++
			default:
				groups = append(groups, group{region: region, id: g.SecurityGroupID, name: strings.Clone(g.Name)})
			}
		}
		f.mu.Unlock()
		f.progress.listed(len(page))
	}
	return groups
}

// read fills in the policies of a region's groups, with as many callers as keep the
// rate up however slow the answers are, within reason.
func (f *fetch) read(ctx context.Context, groups []group) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *group)
	var region tally
	var wait sync.WaitGroup
	for range min(len(groups), max(16, min(256, int(math.Ceil(f.qps))))) {
		wait.Go(func() {
			for g := range next {
				if err := f.readOne(ctx, g, &region); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range groups {
		select {
		case next <- &groups[i]:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wait.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		f.fail(failure{region: groups[0].region, err: err})
	}
}

// readOne reads a policy. An error says that the other groups would fail as well.
func (f *fetch) readOne(ctx context.Context, g *group, region *tally) error {
	var seen ecs.Observation
	err := persist(ctx, func() (wait time.Duration, err error) {
		seen, wait, err = f.client.Observe(ctx, ecs.Group{RegionID: g.region, SecurityGroupID: g.id, OwnerAccount: g.owner}, ratelimit.Edit)
		return wait, err
	})
	if errors.Is(err, errStopped) {
		return nil
	}
	defer f.progress.read()
	if err == nil {
		g.policy = seen.Policy
		region.allowed.Add(1)
		return nil
	}
	g.err = err
	e, known := errors.AsType[*ecs.Error](err)
	if !known {
		e = &ecs.Error{}
	}
	switch {
	case e.Class == ecs.NotFound: // deleted since it was listed
		f.count(&f.found.gone)
	case e.Class == ecs.UnsupportedGroup:
		f.count(&f.found.enterprise)
	case e.Class == ecs.ManagedGroup:
		f.count(&f.found.managed)
	case e.RefusesCredential(), e.Class == ecs.NoCredentials:
		return err
	default:
		f.fail(failure{g.region, g.id, err})
		if e.Class == ecs.Denied && region.denied.Add(1) >= maxDenied && region.allowed.Load() == 0 {
			return errors.New("the rest of the region was given up: no group may be read")
		}
	}
	return nil
}

// count counts a group that turned out to have no policy to read.
func (f *fetch) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
	f.found.wanted--
}

func (f *fetch) fail(what failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found.failures = append(f.found.failures, what)
}
