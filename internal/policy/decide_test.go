package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-d)) }

func TestDecide(t *testing.T) {
	type policy = v1alpha1.SecurityGroupPolicy
	pending := func(from, to string, cause v1alpha1.ModificationCause) *v1alpha1.PendingModification {
		return &v1alpha1.PendingModification{ClientToken: "token", From: from, To: to, Cause: cause}
	}
	last := func(from, to string, cause v1alpha1.ModificationCause, age time.Duration) *v1alpha1.Modification {
		return &v1alpha1.Modification{From: from, To: to, Cause: cause, Time: ago(age)}
	}
	fresh := func(from, to string, cause v1alpha1.ModificationCause) decision {
		return decision{step: stepChange, change: v1alpha1.PendingModification{From: from, To: to, Cause: cause}}
	}
	repeat := func(p *v1alpha1.PendingModification) decision { return decision{step: stepChange, change: *p} }

	for name, c := range map[string]struct {
		desired  string
		observed string
		given    func(*policy)
		want     decision
	}{
		"a group that is as declared":                {"Drop", "Drop", nil, decision{step: stepNone}},
		"letter case is no difference":               {"dROP", "Drop", nil, decision{step: stepNone}},
		"a group that differs from a new resource":   {"drop", "Accept", nil, fresh("Accept", "Drop", v1alpha1.CauseSpec)},
		"a difference that must only be reported":    {"Drop", "Accept", func(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }, decision{step: stepReport}},
		"a group changed behind the operator's back": {"Drop", "Accept", func(p *policy) { p.Status.InnerAccessPolicy = "Drop" }, fresh("Accept", "Drop", v1alpha1.CauseDrift)},
		"an edited spec": {"Accept", "Drop", func(p *policy) {
			p.Status.InnerAccessPolicy, p.Status.ObservedGeneration, p.Generation = "Drop", 1, 2
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
		}, fresh("Drop", "Accept", v1alpha1.CauseSpec)},
		"a drift that was seen but not corrected yet": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
		}, fresh("Accept", "Drop", v1alpha1.CauseDrift)},

		"a lost answer, the change has not taken effect": {"Drop", "Accept", func(p *policy) {
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}, repeat(pending("Accept", "Drop", v1alpha1.CauseSpec))},
		"a lost answer, the change has taken effect": {"Drop", "Drop", func(p *policy) {
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}, repeat(pending("Accept", "Drop", v1alpha1.CauseSpec))},
		"a lost answer that took effect, and the spec was changed back": {"Accept", "Drop", func(p *policy) {
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}, repeat(pending("Accept", "Drop", v1alpha1.CauseSpec))},
		"a lost answer without effect, and the spec was changed back": {"Accept", "Accept", func(p *policy) {
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}, decision{step: stepNone, wait: settling}},
		"a lost answer under Observe": {"Drop", "Accept", func(p *policy) {
			p.Spec.ManagementPolicy = v1alpha1.ManagementObserve
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}, decision{step: stepReport}},

		"a read that lags the change": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, 2*time.Second)
		}, decision{step: stepLookAgain, wait: time.Second}},
		"a read that lags the change, and the spec was changed back": {"Accept", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, 8*time.Second)
		}, decision{step: stepLookAgain, wait: 4 * time.Second}},
		"a read that lags for longer than reads do": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, settling)
		}, fresh("Accept", "Drop", v1alpha1.CauseDrift)},
		"a drift right after a change that was seen": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Drop"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, 2*time.Second)
		}, fresh("Accept", "Drop", v1alpha1.CauseDrift)},

		"the third drift in an hour": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Drop"
			p.Status.DriftCorrections = []metav1.Time{ago(time.Minute), ago(10 * time.Second)}
		}, fresh("Accept", "Drop", v1alpha1.CauseDrift)},
		"the fourth drift in an hour": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Drop"
			p.Status.DriftCorrections = []metav1.Time{ago(time.Hour - 1), ago(time.Minute), ago(10 * time.Second)}
		}, decision{step: stepHold, wait: 50 * time.Second}},
		"the fourth drift, when its time has come": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Drop"
			p.Status.DriftCorrections = []metav1.Time{ago(5 * time.Minute), ago(4 * time.Minute), ago(time.Minute)}
		}, fresh("Accept", "Drop", v1alpha1.CauseDrift)},
		"many drifts: one correction in ten minutes": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Drop"
			for i := range 9 {
				p.Status.DriftCorrections = append(p.Status.DriftCorrections, ago(time.Duration(9-i)*time.Minute))
			}
		}, decision{step: stepHold, wait: 9 * time.Minute}},
		"drifts of more than an hour ago": {"Drop", "Accept", func(p *policy) {
			p.Status.InnerAccessPolicy = "Drop"
			p.Status.DriftCorrections = []metav1.Time{ago(3 * time.Hour), ago(2 * time.Hour), ago(time.Hour)}
		}, fresh("Accept", "Drop", v1alpha1.CauseDrift)},
		"a spec edited while contested": {"Accept", "Drop", func(p *policy) {
			p.Status.InnerAccessPolicy, p.Generation = "Drop", 2
			p.Status.DriftCorrections = []metav1.Time{ago(3 * time.Second), ago(2 * time.Second), ago(time.Second)}
		}, fresh("Drop", "Accept", v1alpha1.CauseSpec)},

		"deleted: the group is as it was left": {"Drop", "Drop", deleted(func(p *policy) {
			p.Status.InnerAccessPolicy, p.Status.OriginalInnerAccessPolicy = "Drop", "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
		}), fresh("Drop", "Accept", v1alpha1.CauseRestore)},
		"deleted: the group is as it was before": {"Drop", "Accept", deleted(func(p *policy) {
			p.Status.InnerAccessPolicy, p.Status.OriginalInnerAccessPolicy = "Drop", "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
		}), decision{step: stepRelease}},
		"deleted: somebody else changed the group since": {"Accept", "Drop", deleted(func(p *policy) {
			p.Status.InnerAccessPolicy, p.Status.OriginalInnerAccessPolicy = "Accept", "Accept"
			p.Status.LastModification = last("Drop", "Accept", v1alpha1.CauseSpec, time.Hour)
		}), decision{step: stepSkip, because: "it was changed by somebody else since"}},
		"deleted: the original is back already": {"Drop", "Drop", deleted(func(p *policy) {
			p.Status.OriginalInnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Drop", "Accept", v1alpha1.CauseRestore, time.Second)
		}), decision{step: stepRelease}},
		"deleted: the answer to the restore was lost": {"Drop", "Accept", deleted(func(p *policy) {
			p.Status.OriginalInnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
			p.Status.PendingModification = pending("Drop", "Accept", v1alpha1.CauseRestore)
		}), repeat(pending("Drop", "Accept", v1alpha1.CauseRestore))},
		"deleted: the answer to a change was lost, and it took effect": {"Drop", "Drop", deleted(func(p *policy) {
			p.Status.OriginalInnerAccessPolicy = "Accept"
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}), repeat(pending("Accept", "Drop", v1alpha1.CauseSpec))},
		"deleted: the answer to a change was lost, and it may still take effect": {"Drop", "Accept", deleted(func(p *policy) {
			p.Status.OriginalInnerAccessPolicy = "Accept"
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}), decision{step: stepLookAgain, wait: settling / 3}},
		"deleted: the answer was lost long ago, and the first look shows nothing of the change": {"Drop", "Accept", deleted(func(p *policy) {
			p.DeletionTimestamp = new(ago(time.Hour))
			p.Status.OriginalInnerAccessPolicy = "Accept"
			p.Status.PendingModification = pending("Accept", "Drop", v1alpha1.CauseSpec)
		}), decision{step: stepLookAgain, wait: settling / 3}},
		"deleted: no look has ever shown the change, and this is the first one for long": {"Drop", "Accept", deleted(func(p *policy) {
			p.Status.InnerAccessPolicy, p.Status.OriginalInnerAccessPolicy = "Accept", "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
		}), decision{step: stepLookAgain, wait: 5 * time.Second}},
		"deleted right after a change that reads do not show yet": {"Drop", "Accept", deleted(func(p *policy) {
			p.Status.InnerAccessPolicy, p.Status.OriginalInnerAccessPolicy = "Accept", "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, 2*time.Second)
		}), decision{step: stepLookAgain, wait: time.Second}},
		"deleted under Observe": {"Drop", "Drop", deleted(func(p *policy) {
			p.Spec.ManagementPolicy = v1alpha1.ManagementObserve
			p.Status.OriginalInnerAccessPolicy = "Accept"
			p.Status.LastModification = last("Accept", "Drop", v1alpha1.CauseSpec, time.Hour)
		}), decision{step: stepSkip, because: "managementPolicy Observe forbids to change it"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &policy{}
			p.Generation, p.Status.ObservedGeneration = 1, 1
			p.Spec.InnerAccessPolicy = c.desired
			if c.given != nil {
				c.given(p)
			}
			got := decide(p, c.observed, noon, noon)
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(decision{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// A look that shows the original value may be one that lags; not so if all looks of
// half a minute have.
func TestADeletedResourceIsLetGoOnlyAfterLooksForLongEnough(t *testing.T) {
	for name, given := range map[string]func(*v1alpha1.SecurityGroupPolicy){
		"the answer to a change was lost": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.PendingModification = &v1alpha1.PendingModification{ClientToken: "token", From: "Accept", To: "Drop", Cause: v1alpha1.CauseSpec}
		},
		"no look has shown the change": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.InnerAccessPolicy = "Accept"
			p.Status.LastModification = &v1alpha1.Modification{From: "Accept", To: "Drop", Cause: v1alpha1.CauseSpec, Time: ago(time.Hour)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1alpha1.SecurityGroupPolicy{}
			p.Spec.InnerAccessPolicy, p.Status.OriginalInnerAccessPolicy = "Drop", "Accept"
			p.DeletionTimestamp = new(ago(time.Hour))
			given(p)
			for looked, want := range map[time.Duration]step{0: stepLookAgain, settling - 1: stepLookAgain, settling: stepRelease} {
				if d := decide(p, "Accept", noon.Add(-looked), noon); d.step != want {
					t.Errorf("after looks for %v: %+v, want step %v", looked, d, want)
				}
			}
		})
	}
}

func deleted(given func(*v1alpha1.SecurityGroupPolicy)) func(*v1alpha1.SecurityGroupPolicy) {
	return func(p *v1alpha1.SecurityGroupPolicy) {
		p.DeletionTimestamp = new(ago(time.Second))
		given(p)
	}
}
