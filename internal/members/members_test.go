package members

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

func TestRulesAreKeptOnlyOfGroupsThatSomebodyAsksFor(t *testing.T) {
	now := time.Unix(0, 0)
	s := &Store{Now: func() time.Time { return now }}
	shared := ecs.Group{RegionID: "cn-hangzhou", SecurityGroupID: "sg-7"}
	s.find(groupKey("prod", shared))
	for n := range 20_000 {
		s.Keep("prod", ecs.Group{RegionID: "cn-hangzhou", SecurityGroupID: fmt.Sprint("sg-", n)}, ecs.Observation{Policy: ecs.Drop, Rules: []ecs.Rule{{ID: "sgr-1"}}})
	}
	if len(s.kept) != 1 {
		t.Errorf("%d groups are kept", len(s.kept))
	}
	if o, ok := young[ecs.Observation](s.find(groupKey("prod", shared)), now, time.Hour); !ok || len(o.Rules) != 1 {
		t.Errorf("what was read anyway is not at hand: %+v", o)
	}
	// And no longer than that.
	now = now.Add(longIdle + time.Second)
	s.Keep("prod", shared, ecs.Observation{Policy: ecs.Drop})
	s.find(key{"prod", "cn-hangzhou", "vpc", "vpc-1"})
	if len(s.kept) != 1 {
		t.Errorf("%d are kept", len(s.kept))
	}
}

type static ecs.Credential

func (s static) Credential(context.Context, string) (ecs.Credential, error) {
	return ecs.Credential(s), nil
}

func (static) Unused(string) {}

func (static) Judge(string, ecs.Credential, *ecs.Error) {}

// turns is a service that answers so many calls in each turn of a pass, whose time is up
// then.
type turns struct {
	sim    *ecssim.Server
	left   atomic.Int64
	cancel atomic.Pointer[context.CancelFunc]
}

const callsInATurn = 6

func (s *turns) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.left.Add(-1) < 0 {
		(*s.cancel.Load())()
		<-r.Context().Done()
		return
	}
	s.sim.ServeHTTP(w, r)
}

// newLargeVPC is one of 20 pages.
func newLargeVPC(t *testing.T) (Cloud, *turns) {
	t.Helper()
	s := &turns{sim: ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: "LTAItestkeyid0000001", Secret: "testsecret0123456789abcdefghij"}}, Regions: []string{"cn-hangzhou"}})}
	for n := range 10_000 {
		s.sim.PutInterface(ecssim.Interface{Region: "cn-hangzhou", ID: fmt.Sprintf("eni-%05d", n), VpcID: "vpc-1", Groups: []string{fmt.Sprint("sg-", n%5)}})
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	endpoint, err := ecs.ParseEndpoint(server.URL, false)
	if err != nil {
		t.Fatal(err)
	}
	return Cloud{Account: "prod", Client: ecs.New(ecs.Options{Credentials: static{AccessKeyID: "LTAItestkeyid0000001", AccessKeySecret: "testsecret0123456789abcdefghij"},
		Endpoint: endpoint, Timeout: time.Minute, QPS: 10000, Burst: 10000})}, s
}

// inTurns calls as passes do, until there is an answer.
func inTurns[T any](t *testing.T, s *turns, call func(context.Context) (T, time.Duration, error)) (value T) {
	t.Helper()
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		s.cancel.Store(&cancel)
		s.left.Store(callsInATurn)
		value, wait, err := call(ctx)
		cancel()
		if err == nil && wait == 0 {
			return value
		}
	}
	t.Fatal("no answer in 20 turns")
	return value
}

func TestAListingThatTakesLongerThanAPassGoesOnInTheNext(t *testing.T) {
	cloud, service := newLargeVPC(t)
	s := &Store{Now: time.Now}
	snapshot := inTurns(t, service, func(ctx context.Context) (*Snapshot, time.Duration, error) {
		return s.OfVPC(ctx, cloud, "cn-hangzhou", "vpc-1", factsFor)
	})
	if calls := service.sim.CallCount(ecs.ActionInterfaces); len(snapshot.Interfaces) != 10_000 || calls > 30 {
		t.Errorf("%d interfaces, %d calls", len(snapshot.Interfaces), calls)
	}
}

func TestTheGroupsOfAVPCThatIsTooLargeForAPassAreReadSingly(t *testing.T) {
	cloud, service := newLargeVPC(t)
	s := &Store{Now: time.Now}
	for n := range 5 {
		g := ecs.Group{RegionID: "cn-hangzhou", SecurityGroupID: fmt.Sprint("sg-", n)}
		found := inTurns(t, service, func(ctx context.Context) (Found, time.Duration, error) { return s.OfGroup(ctx, cloud, g, "vpc-1") })
		if len(found.Interfaces) != 2000 {
			t.Errorf("%d interfaces", len(found.Interfaces))
		}
	}
	if len(s.large) != 1 {
		t.Errorf("%v", s.large)
	}
}
