package claims

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// Endings are the holders whose claims may end: those that are gone, and those that
// were asked for their group. A holder that went with a change under way leaves its group in doubt:
// nobody may have it before that change can take effect no more. The zero value is
// ready for use.
type Endings struct {
	mu     sync.Mutex
	freeAt map[types.UID]time.Time
	// asked is since when this process knows that a holder was asked for its group.
	asked map[types.UID]request
}

// request tells one request for a group from another by the time that it holds.
type request struct{ at, since time.Time }

// Gone notes the end of a holder, as it was last: with a change under way, or without.
// A holder whose end was not watched is noted by FreeAt.
func (e *Endings) Gone(uid types.UID, changing bool, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.freeAt == nil {
		e.freeAt = map[types.UID]time.Time{}
	}
	if changing {
		now = now.Add(policy.Doubt)
	}
	e.freeAt[uid] = now
}

// FreeAt is when the claim of a holder that is gone is free. Of a holder whose end
// nobody has watched it is not known how it ended, so that the time begins now.
func (e *Endings) FreeAt(uid types.UID, now time.Time) time.Time {
	e.mu.Lock()
	at, known := e.freeAt[uid]
	e.mu.Unlock()
	if known {
		return at
	}
	e.Gone(uid, true, now)
	return now.Add(policy.Doubt)
}

// Asked is since when this process knows that a holder was asked for its group: the
// clock of whoever has asked may be wrong.
func (e *Endings) Asked(uid types.UID, at, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked == nil {
		e.asked = map[types.UID]request{}
	}
	delete(e.freeAt, uid) // it has only left this shard
	if !e.asked[uid].at.Equal(at) {
		e.asked[uid] = request{at, now}
	}
	return e.asked[uid].since
}

// Forget drops a holder that lives and has answered, or whose claim is gone.
func (e *Endings) Forget(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.freeAt, uid)
	delete(e.asked, uid)
}

// Len is how many holders are kept.
func (e *Endings) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.freeAt) + len(e.asked)
}

// Clone is a copy that goes its own way.
func (e *Endings) Clone() *Endings {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &Endings{freeAt: maps.Clone(e.freeAt), asked: maps.Clone(e.asked)}
}
