package claims

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// resource is one that wants the group sg-1.
func resource(uid string, age time.Duration) *v1alpha1.SecurityGroupPolicy {
	return &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "r-" + uid, UID: types.UID(uid), CreationTimestamp: metav1.NewTime(noon.Add(-age))},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1", InnerAccessPolicy: "Drop",
			ManagementPolicy: v1alpha1.ManagementEnforce},
	}
}

var (
	noon  = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	group = Group{"cn-hangzhou", "sg-1"}
)

func TestAClaimIsNamedAfterItsGroup(t *testing.T) {
	hash := func(id string) string {
		sum := sha256.Sum256([]byte(id))
		return hex.EncodeToString(sum[:8])
	}
	for id, want := range map[string]string{
		"sg-bp1abcdefgh": "cn-hangzhou.sg-bp1abcdefgh",
		"1":              "cn-hangzhou.1",
		"a--b":           "cn-hangzhou.a--b",
		"SG-1":           "cn-hangzhou.sg-1." + hash("SG-1"),
		"sg_1":           "cn-hangzhou.sg-1." + hash("sg_1"),
		"sg-1-":          "cn-hangzhou.sg-1." + hash("sg-1-"),
		"-sg-1":          "cn-hangzhou.sg-1." + hash("-sg-1"),
		"_":              "cn-hangzhou.x." + hash("_"),
		"---":            "cn-hangzhou.x." + hash("---"),
	} {
		if got := (Group{"cn-hangzhou", id}).ClaimName(); got != want {
			t.Errorf("the claim of %q is called %q, want %q", id, got, want)
		}
	}
}

// odd ids are all that the schema allows, and those that could be taken for a hash.
var odd = []string{"sg-1", "SG-1", "Sg-1", "sG-1", "sg_1", "sg-1-", "-sg-1", "_sg-1", "sg-1_", "_", "-", "--", "__", "_-", "x", "X",
	strings.Repeat("a", 100), strings.Repeat("A", 100), strings.Repeat("_", 100)}

func TestNoTwoGroupsShareAClaim(t *testing.T) {
	ids := odd
	for _, id := range odd { // an id may look like the hash of another one
		sum := sha256.Sum256([]byte(id))
		ids = append(ids, hex.EncodeToString(sum[:8]), "x-"+hex.EncodeToString(sum[:8]))
	}
	named := map[string]Group{}
	for _, region := range []string{"cn-hangzhou", "cn-hangzhou-2", "us-east-1"} {
		for _, id := range ids {
			g := Group{region, id}
			name := g.ClaimName()
			if other, taken := named[name]; taken {
				t.Errorf("%+v and %+v share the claim %q", other, g, name)
			}
			named[name] = g
			checkName(t, g)
		}
	}
}

func checkName(t *testing.T, g Group) {
	t.Helper()
	name := g.ClaimName()
	if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
		t.Errorf("the claim of %+v cannot be called %q: %v", g, name, wrong)
	}
	if !strings.HasPrefix(name, g.RegionID+".") {
		t.Errorf("the claim of %+v is called %q", g, name)
	}
}

var (
	regions = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]+){1,4}$`)
	ids     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)
)

func FuzzClaimName(f *testing.F) {
	for i, id := range odd {
		f.Add("cn-hangzhou", id, "cn-hangzhou", odd[(i+1)%len(odd)])
	}
	f.Fuzz(func(t *testing.T, regionA, idA, regionB, idB string) {
		a, b := Group{regionA, idA}, Group{regionB, idB}
		for _, g := range []Group{a, b} {
			if !regions.MatchString(g.RegionID) || len(g.RegionID) > 64 || !ids.MatchString(g.SecurityGroupID) {
				t.Skip("the schema refuses it")
			}
			checkName(t, g)
		}
		if a != b && a.ClaimName() == b.ClaimName() {
			t.Errorf("%+v and %+v share the claim %q", a, b, a.ClaimName())
		}
	})
}

func TestOnlyWhoMayChangeAGroupWantsIt(t *testing.T) {
	deleted := new(metav1.NewTime(noon))
	for name, c := range map[string]struct {
		edit func(*v1alpha1.SecurityGroupPolicy)
		want bool
	}{
		"Enforce":                      {func(*v1alpha1.SecurityGroupPolicy) {}, true},
		"Observe":                      {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }, false},
		"suspended":                    {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.Suspend = true }, false},
		"deleted, with a restore left": {func(p *v1alpha1.SecurityGroupPolicy) { p.DeletionTimestamp, p.Finalizers = deleted, []string{"f"} }, true},
		"deleted, with nothing left":   {func(p *v1alpha1.SecurityGroupPolicy) { p.DeletionTimestamp = deleted }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := resource("a", 0)
			c.edit(p)
			if got := Wants(p); got != c.want {
				t.Errorf("wants %v, want %v", got, c.want)
			}
		})
	}
}

func TestAClaimSpeaksOfItsHolderAndItsGroupOnly(t *testing.T) {
	p := resource("a", 0)
	claim := func(uid, region, id string) *v1alpha1.SecurityGroupClaim {
		return &v1alpha1.SecurityGroupClaim{Spec: v1alpha1.SecurityGroupClaimSpec{RegionID: region, SecurityGroupID: id,
			Holder: v1alpha1.ClaimHolder{Namespace: p.Namespace, Name: p.Name, UID: uid}}}
	}
	for name, c := range map[string]struct {
		claim *v1alpha1.SecurityGroupClaim
		want  bool
	}{
		"its own":                            {claim("a", "cn-hangzhou", "sg-1"), true},
		"none":                               {nil, false},
		"of a predecessor of the same name":  {claim("b", "cn-hangzhou", "sg-1"), false},
		"of another group":                   {claim("a", "cn-hangzhou", "sg-2"), false},
		"of the same id, in another region":  {claim("a", "cn-beijing", "sg-1"), false},
		"of nobody, written by a wrong hand": {claim("", "cn-hangzhou", "sg-1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := HeldBy(c.claim, p); got != c.want {
				t.Errorf("held %v, want %v", got, c.want)
			}
		})
	}
}
