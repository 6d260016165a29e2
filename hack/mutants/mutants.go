package main

// mutant is a mistake that could be made, or was.
type mutant struct {
	// name says what is wrong, in the words of who would meet it.
	name string
	// file and the text in it that is replaced. It has to stand there once.
	file, old, new string
	// test that has to find it, with which disturbances, combined up to how many.
	test  string
	only  string
	total string
}

const (
	decide  = "internal/policy/decide.go"
	failure = "internal/policy/failure.go"
	ending  = "internal/claims/endings.go"
	apply   = "controllers/securitygrouppolicy/apply.go"
	claim   = "controllers/securitygrouppolicy/claim.go"
	finish  = "controllers/securitygrouppolicy/finish.go"

	one   = "TestExploreOneResourceAndTwoManagers/agree"
	three = "TestExploreThreeResourcesAndOneManager"
)

var mutants = []mutant{
	{"O1: whoever is next goes ahead without taking the group", claim,
		"	find := r.newestClaim\n	if s.claim == nil {", "	find := r.newestClaim\n	if s.claim == nil {\n		return true, nil\n	}\n	if s.claim == nil {", three, "remove,preempt", "2"},
	{"O2: one failed observation ends the right to a group", failure,
		"return Meaning{KeepsReady: true}\n	case TokenRejected", "return Meaning{KeepsReady: true, EndsClaim: true}\n	case TokenRejected", three, "timeout,stale", "1"},
	{"O3: one refusal ends the right to a group", failure,
		"case Denied:\n		return Meaning{Stalled: true, NoEffect: true}", "case Denied:\n		return Meaning{Stalled: true, NoEffect: true, EndsClaim: true}", three, "refuse", "1"},
	{"P1: an observation that lags a change is taken for the truth", decide,
		"l.Age < Lag &&", "l.Age < 0 &&", one, "remove,stale", "2"},
	{"P2: a lost request is repeated that nobody wants any more", decide,
		"p.Age < Doubt && p.To == i.wants(r)", "p.Age < Doubt", one, "edit,lose", "2"},
	{"P3: a lost request is given up at the first observation that does not show it", decide,
		"case p.Age < Doubt:", "case p.Age < 0:", one, "edit,lose", "2"},
	{"P4: a request is repeated with the parameters of the newest spec", apply,
		"to.OwnerAccount = request.OwnerAccount", "to.OwnerAccount = s.p.Spec.OwnerAccount", one, "parameter,lose", "2"},
	{"P5: the original value is that of a change that was refused", apply,
		"	status.PendingModification.Time = r.now()", "	status.PendingModification.Time = r.now()\n	status.OriginalInnerAccessPolicy = change.From", one, "refuse,outsider,remove", "3"},
	{"P7: an observation is forgotten whose pass did not end well", finish,
		"if !s.observedAt.IsZero() {\n		e.observed", "if !s.observedAt.IsZero() && o.err == nil {\n		e.observed", one, "outsider,label,timeout", "3"},
	{"a write ahead that failed is ignored", apply,
		"conditions.PutStatus(ctx, r.Client, s.p); err != nil {\n		return err\n", "conditions.PutStatus(ctx, r.Client, s.p); err != nil {\n		_ = err\n", one, "edit,preempt", "2"},
	{"the finalizer is written without a lock", apply,
		"client.MergeFromWithOptions(s.stored, client.MergeFromWithOptimisticLock{})", "client.MergeFrom(s.stored)", one, "edit,preempt", "2"},
	{"nothing is written ahead of a request", apply,
		"	if err := conditions.PutStatus(ctx, r.Client, s.p); err != nil {\n		return err\n	}", "", one, "edit", "1"},
	{"a repetition has a token of its own", apply,
		"	if fresh {\n		status.PendingModification =", "	if true {\n		status.PendingModification =", one, "lose", "1"},
	{"a cached claim is believed", claim,
		"	find := r.newestClaim\n", "	if claims.HeldBy(s.claim, s.p) {\n		return true, nil\n	}\n	find := r.newestClaim\n", three, "mode,race,outsider", "4"},
	{"the group of a holder that is gone is free at once", ending,
		"	if changing {\n", "	if false {\n", three, "remove,preempt", "3"},
	{"a group is given up while a change may be under way", claim,
		"s.known.pending.age(pendingID(m), r.Clock.Now()) < policy.Doubt {", "s.known.pending.age(pendingID(m), r.Clock.Now()) < 0*policy.Doubt {", three, "mode,lose,edit", "2"},
	{"a change is made before there is a finalizer", apply,
		"	if err := r.setFinalizer(ctx, s, s.p.Spec.DeletionPolicy == v1alpha1.DeletionRestore); err != nil {\n		return r.failed(s, err)\n	}\n", "", one, "edit", "1"},
	{"the record of a change is lost to an edit meanwhile", finish,
		"	if s.sent {\n		err = r.writeOnNewest(ctx, s, err)\n	}", "	if s.sent {\n		err = client.IgnoreNotFound(nil)\n	}", one, "edit,remove", "2"},
	{"a stale cache makes a resource run in circles", finish,
		"return ctrl.Result{RequeueAfter: min(r.backoff(e), maxConflict)}, nil", "return ctrl.Result{RequeueAfter: firstBackoff}, nil", three, "race", "1"},
	{"a lost request is polled without end", finish,
		"left > 0 {\n", "max(left, firstBackoff) > 0 {\n			left = max(left, firstBackoff)\n", one, "lose,vanish", "2"},
}
