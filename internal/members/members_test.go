package members

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
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
