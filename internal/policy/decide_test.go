package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func ago(ages ...time.Duration) (times []time.Time) {
	for _, age := range ages {
		times = append(times, noon.Add(-age))
	}
	return times
}

func TestDecide(t *testing.T) {
	enforce := func(value string) Intent { return Intent{Value: value, Enforce: true, Recorded: true} }
	edited := func(value string) Intent { return Intent{Value: value, Enforce: true} }
	observe := func(value string) Intent { return Intent{Value: value, Recorded: true} }
	deleted := func(value string) Intent { return Intent{Value: value, Enforce: true, Restoring: true, Recorded: true} }
	rollback := func(value string) Intent {
		return Intent{Value: value, Enforce: true, RollingBack: true, Recorded: true}
	}
	change := func(from, to string, cause Cause, age time.Duration) *Change { return &Change{from, to, cause, age} }
	lost := func(from, to string, cause Cause, age time.Duration) Record {
		return Record{Observed: from, Pending: change(from, to, cause, age), Repeatable: true}
	}
	modify := func(from, to string, cause Cause) Plan {
		return Plan{Action: Modify, Change: Change{From: from, To: to, Cause: cause}}
	}
	repeat := func(from, to string, cause Cause, age time.Duration) Plan {
		return Plan{Action: Repeat, Change: Change{from, to, cause, age}}
	}
	again := func(wait time.Duration, because string) Plan {
		return Plan{Action: ObserveAgain, Wait: wait, Because: because}
	}
	with := func(p Plan, f Fate) Plan { p.Fate = f; return p }
	leave := func(because string) Plan { return Plan{Action: Leave, Because: because} }
	const hour = time.Hour

	for name, c := range map[string]struct {
		intent   Intent
		record   Record
		observed string
		want     Plan
	}{
		"a group that is as declared":                {enforce("Drop"), Record{}, "Drop", Plan{Action: InSync}},
		"a group that differs from a new resource":   {edited("Drop"), Record{}, "Accept", modify("Accept", "Drop", Spec)},
		"a difference that must only be reported":    {observe("Drop"), Record{}, "Accept", Plan{Action: Report}},
		"a group changed behind the operator's back": {enforce("Drop"), Record{Observed: "Drop"}, "Accept", modify("Accept", "Drop", Drift)},
		"an edited spec": {edited("Accept"), Record{Observed: "Drop", Last: change("Accept", "Drop", Spec, hour)}, "Drop",
			modify("Drop", "Accept", Spec)},
		"a drift that was seen but not corrected yet": {enforce("Drop"), Record{Observed: "Accept", Last: change("Accept", "Drop", Spec, hour)}, "Accept",
			modify("Accept", "Drop", Drift)},
		"a change made under another spec is no drift": {edited("Drop"), Record{Observed: "Accept", Last: change("Accept", "Drop", Spec, hour)}, "Accept",
			modify("Accept", "Drop", Spec)},

		"a lost answer, and the value is wanted": {enforce("Drop"), lost("Accept", "Drop", Spec, 0), "Accept",
			repeat("Accept", "Drop", Spec, 0)},
		"a lost answer, the value is wanted and shows": {enforce("Drop"), lost("Accept", "Drop", Spec, Doubt-1), "Drop",
			repeat("Accept", "Drop", Spec, Doubt-1)},
		"a lost answer of long ago, the value is wanted and shows": {enforce("Drop"), lost("Accept", "Drop", Spec, Doubt), "Drop",
			with(Plan{Action: InSync}, TookEffect)},
		"a lost answer of long ago, and the value does not show": {enforce("Drop"), lost("Accept", "Drop", Spec, Doubt), "Accept",
			with(modify("Accept", "Drop", Spec), NoEffect)},
		"a lost answer, and the value shows that nobody wants any more": {edited("Accept"), lost("Accept", "Drop", Spec, time.Second), "Drop",
			with(modify("Drop", "Accept", Spec), TookEffect)},
		"a lost answer, nobody wants the value, and it may still come": {edited("Accept"), lost("Accept", "Drop", Spec, 4*time.Second), "Accept",
			again(4*time.Second, waitingForRequest)},
		"the same, at the end of the doubt": {edited("Accept"), lost("Accept", "Drop", Spec, Doubt-2*time.Second), "Accept",
			again(2*time.Second, waitingForRequest)},
		"the same, after it": {edited("Accept"), lost("Accept", "Drop", Spec, Doubt), "Accept",
			with(Plan{Action: InSync}, NoEffect)},
		"a lost answer under Observe": {observe("Drop"), lost("Accept", "Drop", Spec, 0), "Accept",
			again(time.Second, waitingForRequest)},
		"a lost answer whose account is another now": {enforce("Drop"), Record{Pending: change("Accept", "Drop", Spec, 0)}, "Accept",
			again(time.Second, waitingForRequest)},
		"a read that lags a change hides what became of a later request": {enforce("Accept"),
			Record{Observed: "Accept", Last: change("Drop", "Accept", Spec, 5*time.Second), Pending: change("Accept", "Drop", Spec, 2*time.Second), Repeatable: true}, "Drop",
			again(5*time.Second, waitingForChange)},

		"a group that another has just changed": {edited("Drop"), Record{Unsettled: Lag - 3*time.Second}, "Accept",
			again(3*time.Second, waitingForOther)},
		"a read that lags the change": {enforce("Drop"), Record{Observed: "Accept", Last: change("Accept", "Drop", Spec, 0)}, "Accept",
			again(time.Second, waitingForChange)},
		"a read that lags, after one that did not": {enforce("Drop"), Record{Observed: "Drop", Last: change("Accept", "Drop", Spec, 20*time.Second)}, "Accept",
			again(10*time.Second, waitingForChange)},
		"a read that lags the change, and the spec was changed back": {edited("Accept"), Record{Observed: "Accept", Last: change("Accept", "Drop", Spec, 8*time.Second)}, "Accept",
			again(8*time.Second, waitingForChange)},
		"a read that lags for longer than reads do": {enforce("Drop"), Record{Observed: "Accept", Last: change("Accept", "Drop", Spec, Lag)}, "Accept",
			modify("Accept", "Drop", Drift)},

		"the third drift in an hour": {enforce("Drop"), Record{Observed: "Drop", Corrections: ago(time.Minute, 10*time.Second)}, "Accept",
			modify("Accept", "Drop", Drift)},
		"the fourth drift in an hour": {enforce("Drop"), Record{Observed: "Drop", Corrections: ago(hour-1, time.Minute, 10*time.Second)}, "Accept",
			Plan{Action: Postpone, Wait: 50 * time.Second}},
		"the fourth drift, when its time has come": {enforce("Drop"), Record{Observed: "Drop", Corrections: ago(5*time.Minute, 4*time.Minute, time.Minute)}, "Accept",
			modify("Accept", "Drop", Drift)},
		"many drifts: one correction in ten minutes": {enforce("Drop"), Record{Observed: "Drop", Corrections: ago(9*time.Minute, 8*time.Minute, 7*time.Minute,
			6*time.Minute, 5*time.Minute, 4*time.Minute, 3*time.Minute, 2*time.Minute, time.Minute)}, "Accept", Plan{Action: Postpone, Wait: 9 * time.Minute}},
		"drifts of more than an hour ago": {enforce("Drop"), Record{Observed: "Drop", Corrections: ago(3*hour, 2*hour, hour)}, "Accept",
			modify("Accept", "Drop", Drift)},
		"drifts of a clock that was an hour ahead": {enforce("Drop"), Record{Observed: "Drop", Corrections: ago(-hour, -hour, -hour)}, "Accept",
			modify("Accept", "Drop", Drift)},
		"a spec edited while contested": {edited("Accept"), Record{Observed: "Drop", Corrections: ago(3*time.Second, 2*time.Second, time.Second)}, "Drop",
			modify("Drop", "Accept", Spec)},

		"not confirmed in time: put back what stood before": {rollback("Accept"), Record{Observed: "Drop", Last: change("Accept", "Drop", Spec, hour)}, "Drop",
			modify("Drop", "Accept", Rollback)},
		"not confirmed in time, and contested: a rollback does not wait": {rollback("Accept"), Record{Observed: "Accept", Corrections: ago(3*time.Second, 2*time.Second, time.Second)}, "Drop",
			modify("Drop", "Accept", Rollback)},
		"not confirmed in time, and somebody else has put it back": {rollback("Accept"), Record{Observed: "Drop", Last: change("Accept", "Drop", Spec, hour)}, "Accept",
			Plan{Action: InSync}},
		"not confirmed in time, and the answer to the rollback was lost": {rollback("Accept"), Record{Observed: "Drop", Pending: change("Drop", "Accept", Rollback, 0), Repeatable: true}, "Drop",
			repeat("Drop", "Accept", Rollback, 0)},
		"not confirmed in time, and it is not certain whether the change took effect": {rollback("Accept"), lost("Accept", "Drop", Spec, 0), "Accept",
			again(time.Second, waitingForRequest)},

		"deleted: the group is as it was left": {deleted("Drop"), Record{Observed: "Drop", Original: "Accept", Last: change("Accept", "Drop", Spec, hour)}, "Drop",
			modify("Drop", "Accept", Restore)},
		"deleted right after the change": {deleted("Drop"), Record{Observed: "Drop", Original: "Accept", Last: change("Accept", "Drop", Spec, 0)}, "Drop",
			modify("Drop", "Accept", Restore)},
		"deleted: the group is as it was before": {deleted("Drop"), Record{Observed: "Drop", Original: "Accept", Last: change("Accept", "Drop", Spec, hour)}, "Accept",
			Plan{Action: Release}},
		"deleted: the original shows, which may be an old read": {deleted("Drop"), Record{Observed: "Drop", Original: "Accept", Last: change("Accept", "Drop", Spec, 2*time.Second)}, "Accept",
			again(2*time.Second, waitingForChange)},
		"deleted: somebody else changed the group since": {deleted("Accept"), Record{Observed: "Accept", Original: "Accept", Last: change("Drop", "Accept", Spec, hour)}, "Drop",
			leave("somebody else has changed it since")},
		"deleted: the original is back already": {deleted("Drop"), Record{Original: "Accept", Last: change("Drop", "Accept", Restore, hour)}, "Drop",
			Plan{Action: Release}},
		"deleted: the answer to the restore was lost": {deleted("Drop"), Record{Original: "Accept", Last: change("Accept", "Drop", Spec, hour),
			Pending: change("Drop", "Accept", Restore, 0), Repeatable: true}, "Accept", repeat("Drop", "Accept", Restore, 0)},
		"deleted: the answer to the first change was lost, and it took effect": {deleted("Drop"), lost("Accept", "Drop", Spec, 0), "Drop",
			with(modify("Drop", "Accept", Restore), TookEffect)},
		"deleted: the answer to the first change was lost, and it may still take effect": {deleted("Drop"), lost("Accept", "Drop", Spec, 0), "Accept",
			again(time.Second, waitingForRequest)},
		"deleted: the answer to the first change was lost, and it had no effect": {deleted("Drop"), lost("Accept", "Drop", Spec, Doubt), "Accept",
			with(Plan{Action: Release}, NoEffect)},
		"deleted under Observe": {Intent{Value: "Drop", Restoring: true}, Record{Original: "Accept", Last: change("Accept", "Drop", Spec, hour)}, "Drop",
			leave("managementPolicy Observe does not allow a change")},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Decide(c.intent, c.record, c.observed, noon)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// Whatever is recorded and observed, a change is sent only for the value that is wanted,
// under Observe never, and never because of an observation that may be an old one.
func TestNoPlanWritesWhatNobodyWants(t *testing.T) {
	values := []string{"Accept", "Drop"}
	other := map[string]string{"Accept": "Drop", "Drop": "Accept"}
	ages := []time.Duration{0, Lag - 1, Lag, Doubt - 1, Doubt}
	changes := []*Change{nil}
	for _, to := range values {
		for _, age := range ages {
			for _, cause := range []Cause{Spec, Drift, Restore} {
				changes = append(changes, &Change{other[to], to, cause, age})
			}
		}
	}
	n := 0
	for _, value := range values {
		for _, original := range append(values, "") {
			for _, observed := range values {
				for flags := range 16 {
					for _, last := range changes {
						for _, pending := range changes {
							n++
							i := Intent{Value: value, Enforce: flags&1 != 0, Restoring: flags&2 != 0, Recorded: flags&4 != 0}
							r := Record{Observed: other[observed], Original: original, Last: last, Pending: pending, Repeatable: flags&8 != 0}
							checkPlan(t, i, r, observed, Decide(i, r, observed, noon))
						}
					}
				}
			}
		}
	}
	if n < 100_000 {
		t.Errorf("only %d cases", n)
	}
}

func checkPlan(t *testing.T, i Intent, r Record, observed string, p Plan) {
	t.Helper()
	lagging := r.Last != nil && r.Last.Age < Lag && observed == r.Last.From
	doubtful := r.Pending != nil && r.Pending.Age < Doubt && observed != r.Pending.To
	wrong := ""
	switch p.Action {
	case Modify, Repeat:
		wanted := i.Value
		if i.Restoring {
			wanted = r.Original
			if r.Last == nil && p.Fate == TookEffect {
				wanted = r.Pending.From
			}
		}
		switch {
		case !i.Enforce:
			wrong = "a change under Observe"
		case p.Change.To != wanted:
			wrong = "a change to a value that nobody wants"
		case p.Action == Modify && (lagging || doubtful):
			wrong = "a new change on an observation that proves nothing"
		case p.Action == Repeat && (r.Pending == nil || !r.Repeatable || r.Pending.Age >= Doubt):
			wrong = "a repetition of what is over"
		}
	case InSync:
		if observed != i.Value || lagging || doubtful {
			wrong = "in sync on an observation that proves nothing"
		}
	case Release, Leave:
		if i.Enforce && (lagging || doubtful) {
			wrong = "let go on an observation that proves nothing"
		}
	case ObserveAgain, Postpone:
		if p.Wait < time.Second && p.Action == ObserveAgain {
			wrong = "a loop"
		}
	case Report:
		if i.Enforce || observed == i.Value {
			wrong = "a report of nothing"
		}
	case Undecided:
		wrong = "no answer"
	}
	if wrong != "" {
		t.Fatalf("%s: %+v, last %+v, pending %+v, observed %s: %+v", wrong, i, r.Last, r.Pending, observed, p)
	}
}

func TestEveryFailureHasAMeaning(t *testing.T) {
	for f, want := range map[Failure]Meaning{
		Unavailable:      {KeepsReady: true},
		Throttled:        {KeepsReady: true},
		TokenRejected:    {KeepsReady: true, NoEffect: true},
		NotFound:         {Stalled: true, NoEffect: true, EndsClaim: true, Yields: true},
		NotAllowed:       {Stalled: true, NoEffect: true, EndsClaim: true, Yields: true},
		UnsupportedGroup: {Stalled: true, NoEffect: true, Yields: true},
		ManagedGroup:     {Stalled: true, NoEffect: true, Yields: true},
		Invalid:          {Stalled: true, NoEffect: true, Yields: true},
		NoAccount:        {Stalled: true, NoEffect: true, Yields: true},
		Denied:           {Stalled: true, NoEffect: true},
	} {
		if got := f.Means(); got != want {
			t.Errorf("failure %d means %+v, want %+v", f, got, want)
		}
	}
}

func TestATimeIsRecentUpToItsBoundsAndNoFurther(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want bool
	}{
		{0, true}, {time.Hour - 1, true}, {time.Hour, false}, {-AheadOfUs, true}, {-AheadOfUs - 1, false}, {-24 * time.Hour, false},
	} {
		if got := Recent(noon.Add(-c.age), noon, time.Hour); got != c.want {
			t.Errorf("a time of %v ago is recent: %v", c.age, got)
		}
	}
}

// The figures are part of what is promised.
func TestADoubtOutlastsALateEffectAndALateRead(t *testing.T) {
	const late, lags = 30 * time.Second, 30 * time.Second
	if Lag <= lags || Doubt <= late+lags || Doubt > 2*time.Minute {
		t.Errorf("Lag %v, Doubt %v", Lag, Doubt)
	}
}
