package operator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap/zapcore"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// locked is a buffer that several goroutines may write to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSecretsStaySecret runs every kind of failure with marked keys, and searches
// all that anybody could read for the marks.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const (
		markKey    = "LTAIMARKEDKEYID0000001"
		markSecret = "MARKEDsecret0123456789abcdefgh"
		markToken  = "CAISMARKEDtoken/with+base64==0123456789"
	)
	marks := []string{markKey, markSecret, markToken, url.QueryEscape(markToken), "MARKED"}
	w := newAccountWorld(t)
	logs := &locked{}
	w.log = zap.New(zap.WriteTo(logs), zap.Level(zapcore.Level(-10)))
	w.options.Timeout = 500 * time.Millisecond

	echo := "server string to sign is:POST&%2F&AccessKeyId%3D" + markKey + "%26SecurityToken%3D" + url.QueryEscape(url.QueryEscape(markToken)) + " secret " + markSecret
	faults := map[string]*ecssim.Fault{
		"echo":      {Kind: ecssim.Error, Status: 400, Code: "SignatureDoesNotMatch", Message: echo},
		"older":     {Kind: ecssim.Error, Status: 400, Code: "IncompleteSignature", Message: echo},
		"forbidden": {Kind: ecssim.Error, Status: 403, Code: "Forbidden.RAM", Message: "user " + markKey + " is not authorized, token " + markToken},
		"unknown":   {Kind: ecssim.Error, Status: 500, Code: "InternalError", Message: "AccessKeyId=" + markKey + "&SecurityToken=" + markToken},
		"odd-code":  {Kind: ecssim.Error, Status: 400, Code: markSecret + " " + markKey, Message: "m"},
		"reset":     {Kind: ecssim.ResetBefore},
		"hang":      {Kind: ecssim.HangBefore},
		"html":      {Kind: ecssim.HTML, Status: 502},
		"truncated": {Kind: ecssim.Truncated},
		"fine":      nil,
	}
	for name, fault := range faults {
		id := "sg-" + name
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Accept", Account: prodAccount})
		if fault != nil {
			fault.GroupID = id
			w.sim.Inject(*fault)
		}
	}
	w.sim.PutKey(ecssim.Key{ID: markKey, Secret: markSecret, Token: markToken, Account: prodAccount})
	accounts := map[string]string{"good": markSecret, "wrong": markSecret + "x"}
	for name, secret := range accounts {
		s := w.secret(name, markKey, secret)
		s.StringData = map[string]string{"securityToken": markToken}
		if err := api.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		w.account(w.name(name), name)
		for fault := range faults {
			if name == "good" || fault == "fine" {
				w.policy(name+"-"+fault, "sg-"+fault, "Drop", using(w.name(name)))
			}
		}
	}
	w.account(w.name("role"), "good", func(a *ecsAccount) {
		a.Spec.Credentials.AssumeRole = &v1alpha1.AssumeRole{RoleARN: "acs:ram::" + prodAccount + ":role/none", ExternalID: "outside"}
	})
	w.policy("role", "sg-prod", "Drop", using(w.name("role")))
	w.start()
	policies := &v1alpha1.SecurityGroupPolicyList{}
	if err := api.List(t.Context(), policies, client.InNamespace(w.namespace)); err != nil {
		t.Fatal(err)
	}
	for i := range policies.Items {
		w.await(policies.Items[i].Name, "was reconciled", func(p *policy) bool { return p.Status.ObservedGeneration == 1 && len(p.Status.Conditions) > 0 })
	}
	w.awaitReason("good-forbidden", v1alpha1.ReasonAccessDenied)
	w.awaitReason("role", v1alpha1.ReasonAccessDenied)
	w.awaitAccount(w.name("wrong"), v1alpha1.ReasonAccessDenied)
	w.awaitEvent("good-forbidden", v1alpha1.ReasonAccessDenied)

	search := func(where, text string) {
		for _, mark := range marks {
			if i := strings.Index(text, mark); i >= 0 {
				t.Errorf("%s: %q in …%s…", where, mark, text[max(0, i-200):min(len(text), i+200)])
				return
			}
		}
	}
	if !strings.Contains(logs.String(), "good-forbidden") && !strings.Contains(logs.String(), "Changed the inner access policy") {
		t.Errorf("the log says nothing at all: %q", logs.String())
	}
	search("log", logs.String())
	events, ecsAccounts := &eventsv1.EventList{}, &v1alpha1.ECSAccountList{}
	for _, list := range []client.ObjectList{policies, events} {
		if err := api.List(t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.List(t.Context(), ecsAccounts, client.MatchingLabels{ofTest: w.namespace}); err != nil {
		t.Fatal(err)
	}
	for i := range ecsAccounts.Items {
		status, _ := json.Marshal(ecsAccounts.Items[i].Status)
		search("account", string(status))
	}
	for i := range policies.Items {
		status, _ := json.Marshal(policies.Items[i].Status)
		search("status", string(status))
	}
	for i := range events.Items {
		event, _ := json.Marshal(events.Items[i])
		search("event", string(event))
	}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	search("metrics", gathered(families))
}

func gathered(families []*dto.MetricFamily) string {
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
