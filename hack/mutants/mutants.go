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
	pass    = "controllers/securitygrouppolicy/reconciler.go"
	guard   = "controllers/securitygrouppolicy/guard.go"
	budget  = "controllers/securitygrouppolicy/budget.go"

	rollback = "controllers/securitygrouppolicy/rollback.go"

	one   = "TestExploreOneResourceAndTwoManagers/agree"
	three = "TestExploreThreeResourcesAndOneManager"

	guarded = "TestExploreAGuardedGroup/without"
	rolled  = "TestExploreARollback/agree"
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
		"	if err := r.setFinalizer(ctx, s, putsBack(s.p)); err != nil {\n", "	if err := error(nil); err != nil {\n", one, "edit", "1"},
	{"the record of a change is lost to an edit meanwhile", finish,
		"	if s.sent {\n		err = r.writeOnNewest(ctx, s, err)\n	}", "	if s.sent {\n		err = client.IgnoreNotFound(nil)\n	}", one, "edit,remove", "2"},
	{"a stale cache makes a resource run in circles", finish,
		"return ctrl.Result{RequeueAfter: min(r.backoff(e), maxConflict)}, nil", "return ctrl.Result{RequeueAfter: firstBackoff}, nil", three, "race", "1"},
	{"a change to Drop is sent without a look at what it cuts", guard,
		"if change.To == ecs.Drop && (!approved || change.Cause == policy.Rollback) {", "if false {", guarded, "nodes", "1"},
	{"what was written ahead is sent again although its approval was taken back", pass,
		"		o, stop := r.guard(ctx, s)\n", "		o, stop := r.guard(ctx, s)\n		stop = stop && s.plan.Action != policy.Repeat\n", "TestExploreAGuardedGroup/with", "approve,crash", "3"},
	{"a restore needs no approval", guard,
		"if change.Cause != policy.Rollback {", "if change.Cause != policy.Rollback && change.Cause != policy.Restore {", "TestExploreDemandedApprovals", "approve,remove", "2"},
	{"what is over the budget goes ahead", budget,
		"	if before < limit-len(spent) {", "	if true {", "TestExploreABudget", "edit,outsider", "2"},
	{"a change is sent before its rollback is written down", apply,
		"		r.planRollback(s)\n", "", rolled, "edit", "1"},
	{"the deadline of a rollback begins anew with each pass", rollback,
		"b.Deadline.Sub(latest.Time) > policy.AheadOfUs", "true", rolled, "label", "1"},
	{"a confirmation is overlooked", rollback,
		"	case confirms(p, b):\n		b.Confirmed = true\n", "	case false:\n", rolled, "confirm", "1"},
	{"a rollback whose answer was lost is taken for being in sync", rollback,
		"	case s.rollingBack:\n", "	case s.rollingBack && b != nil:\n", rolled, "crash,refuse", "2"},
	{"a failed write leaves a rollback of a change that was never sent", apply,
		"		s.p.Status.Rollback = rollback // nothing is changed that could be put back\n", "", rolled, "api,outsider", "2"},
	{"a deletion leaves a change that nobody has confirmed", pass,
		"return p.Spec.DeletionPolicy == v1alpha1.DeletionRestore || openRollback(p) != nil", "return p.Spec.DeletionPolicy == v1alpha1.DeletionRestore", rolled, "remove", "1"},
	{"a lost request is polled without end", finish,
		"left > 0 {\n", "max(left, firstBackoff) > 0 {\n			left = max(left, firstBackoff)\n", one, "lose,vanish", "2"},
}
