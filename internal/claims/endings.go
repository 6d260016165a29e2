package claims

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// Endings are the holders that are gone while their claims are not, and when each
// claim is free. A holder that went with a change under way leaves its group in doubt:
// nobody may have it before that change can take effect no more. The zero value is
// ready for use.
type Endings struct {
	mu     sync.Mutex
	freeAt map[types.UID]time.Time
}

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

// Forget drops a holder whose claim is gone.
func (e *Endings) Forget(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.freeAt, uid)
}

// Len is how many endings are kept.
func (e *Endings) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.freeAt)
}
