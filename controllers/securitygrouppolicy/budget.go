package securitygrouppolicy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// budgetWindow is the time in which so many groups may change.
const budgetWindow = 10 * time.Minute

// budget counts the changes of the last ten minutes, for each account and value. What a
// process has not made itself it takes from the statuses, once. The zero value is one.
type budget struct {
	mu       sync.Mutex
	filled   bool
	spent    map[spendingOf][]spending
	waiting  map[spendingOf][]waiter
	waitsFor map[types.UID]spendingOf
}

// spendingOf is what has a budget of its own: to open is another danger than to isolate.
type spendingOf struct{ account, to string }

type spending struct {
	uid types.UID
	at  time.Time
}

// waiter is a resource whose change is over the budget.
type waiter struct {
	uid     types.UID
	created time.Time
}

// compareWaiters puts the oldest resource first.
func compareWaiters(a, b waiter) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.uid, b.uid))
}

func (b *budget) prepare() {
	if b.spent == nil {
		b.spent, b.waiting, b.waitsFor = map[spendingOf][]spending{}, map[spendingOf][]waiter{}, map[types.UID]spendingOf{}
	}
}

// fill counts what the statuses tell of changes before this process began.
func (b *budget) fill(ctx context.Context, r *Reconciler) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.prepare(); b.filled {
		return nil
	}
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("count the changes of the last ten minutes: %w", err)
	}
	now := r.Clock.Now()
	for i := range list.Items {
		p := &list.Items[i]
		if m := p.Status.LastModification; m != nil && policy.Recent(m.Time.Time, now, budgetWindow) {
			b.note(spendingOf{m.Account, m.To}, spending{p.UID, m.Time.Time})
		}
		if m := p.Status.PendingModification; m != nil && policy.Recent(m.Time.Time, now, budgetWindow) {
			b.note(spendingOf{m.Account, m.To}, spending{p.UID, m.Time.Time})
		}
	}
	b.filled = true
	return nil
}

func (b *budget) note(key spendingOf, s spending) {
	b.spent[key] = append(b.spent[key], s)
	slices.SortFunc(b.spent[key], func(a, b spending) int { return a.at.Compare(b.at) })
}

// spend counts a change, whatever is left.
func (b *budget) spend(key spendingOf, uid types.UID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(uid)
	b.note(key, spending{uid, now})
}

// repeat counts a change that is sent once more, unless it is counted.
func (b *budget) repeat(key spendingOf, uid types.UID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.spent[key], func(s spending) bool { return s.uid == uid }) {
		b.note(key, spending{uid, now})
	}
}

// take counts a change if the budget has room for all that wait before it, and for it.
// Otherwise it says when that is likely to be.
func (b *budget) take(key spendingOf, w waiter, limit int, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	spent := slices.DeleteFunc(b.spent[key], func(s spending) bool { return now.Sub(s.at) >= budgetWindow })
	b.spent[key] = spent
	b.drop(w.uid)
	before, _ := slices.BinarySearchFunc(b.waiting[key], w, compareWaiters)
	if before < limit-len(spent) {
		b.note(key, spending{w.uid, now})
		return 0
	}
	b.waiting[key] = slices.Insert(b.waiting[key], before, w)
	b.waitsFor[w.uid] = key
	// The room that is left and what becomes free in the window go to those before it.
	turn := before - max(0, limit-len(spent))
	window := time.Duration(turn/limit) * budgetWindow
	if n := turn % limit; n < len(spent) {
		window += max(spent[n].at.Add(budgetWindow).Sub(now), 0)
	}
	return max(window, time.Second)
}

// leave takes a resource out of the line.
func (b *budget) leave(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(uid)
}

// refund takes back what was counted for a change that was not made.
func (b *budget) refund(key spendingOf, uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.spent[key]) - 1; i >= 0; i-- {
		if b.spent[key][i].uid == uid {
			b.spent[key] = slices.Delete(b.spent[key], i, i+1)
			return
		}
	}
}

func (b *budget) drop(uid types.UID) {
	key, waits := b.waitsFor[uid]
	if !waits {
		return
	}
	delete(b.waitsFor, uid)
	b.waiting[key] = slices.DeleteFunc(b.waiting[key], func(w waiter) bool { return w.uid == uid })
}
