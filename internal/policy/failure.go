package policy

// Failure is why a call did not succeed.
type Failure int

const (
	// Unavailable passes: no connection, a timeout, an internal error, a concurrent
	// operation, an answer that cannot be read, or a code that nobody knows. A change
	// that failed so may have taken effect.
	Unavailable Failure = iota
	// Throttled is a refusal for too many calls.
	Throttled
	// TokenRejected says that the client token cannot be used for the request.
	TokenRejected
	// NotFound says that the account has no such group in the region.
	NotFound
	// UnsupportedGroup says that the group is an advanced (enterprise) one.
	UnsupportedGroup
	// ManagedGroup says that the group belongs to a cloud product.
	ManagedGroup
	// Invalid says that a parameter is refused.
	Invalid
	// Denied says that the key, signature, token or permission is refused.
	Denied
	// NoAccount says that there are no usable credentials.
	NoAccount
	// NotAllowed says that an administrator does not let the resource use the
	// account, for this group.
	NotAllowed
)

// Meaning is what follows from a failure.
type Meaning struct {
	// Stalled says that somebody has to act, so that it is retried slowly. Otherwise
	// it is retried with backoff.
	Stalled bool
	// KeepsReady lets Ready stay True while the last observation is young.
	KeepsReady bool
	// NoEffect says that a change that was sent once and failed so has certainly had
	// no effect.
	NoEffect bool
	// EndsClaim says that the holder of a group who fails so has lost it.
	EndsClaim bool
	// Yields says that a candidate who fails so lets the next one go first, at once.
	// Who fails otherwise has its time to try again.
	Yields bool
}

// Means is the one table of what failures mean.
func (f Failure) Means() Meaning {
	switch f {
	case Unavailable, Throttled:
		return Meaning{KeepsReady: true}
	case TokenRejected:
		return Meaning{KeepsReady: true, NoEffect: true}
	case NotFound, NotAllowed:
		return Meaning{Stalled: true, NoEffect: true, EndsClaim: true, Yields: true}
	case UnsupportedGroup, ManagedGroup, Invalid, NoAccount:
		return Meaning{Stalled: true, NoEffect: true, Yields: true}
	case Denied:
		return Meaning{Stalled: true, NoEffect: true}
	}
	return Meaning{}
}
