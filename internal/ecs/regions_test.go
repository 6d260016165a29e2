package ecs

import (
	"strings"
	"testing"
)

func TestARegionIsKnownOrAddedByAnAdministrator(t *testing.T) {
	for _, c := range []struct {
		extra       []string
		known, none string
	}{
		{nil, "cn-hangzhou cn-north-2-gov-1 cn-shanghai-finance-1 us-southeast-1 na-south-1 me-central-1", "cn-test-1 oss-cn-hangzhou CN-HANGZHOU cn"},
		{[]string{"cn-test-1"}, "cn-test-1 cn-hangzhou", "cn-test-2 cn-test-11"},
		{[]string{"cn-*-finance-9", "sa-east-1"}, "cn-chengdu-finance-9 sa-east-1", "cn-chengdu-finance-1 sa-east-2"},
		{[]string{"*"}, "cn-anything ap-southeast-99 rus-west-1", "oss-cn-hangzhou sts-1 fc-cn-hangzhou cn cn-a.evil cn-A cn-a-b-c-d-e cn-?"},
		{[]string{"*-1"}, "eu-north-1", "oss-cn-hangzhou-1 eu-north-2"},
	} {
		r, err := ParseRegions(c.extra)
		if err != nil {
			t.Errorf("%q: %v", c.extra, err)
			continue
		}
		for region := range strings.FieldsSeq(c.known) {
			if !r.Known(region) {
				t.Errorf("%q: %s is not known", c.extra, region)
			}
		}
		for region := range strings.FieldsSeq(c.none) {
			if r.Known(region) {
				t.Errorf("%q: %s is known", c.extra, region)
			}
		}
	}
}

func TestEveryKnownRegionHasTheFormOfOne(t *testing.T) {
	for region := range regions {
		if r, err := ParseRegions([]string{region}); err != nil || !r.Known(region) || !regionForm.MatchString(region) {
			t.Errorf("%s: %v", region, err)
		}
	}
	for region := range elsewhere {
		if !regions[region] {
			t.Errorf("%s has a host and is not known", region)
		}
	}
}

func TestPatternsThatCouldNameAnotherProductsHostAreRefused(t *testing.T) {
	for _, pattern := range []string{"oss-*", "oss-cn-hangzhou", "sts", "c", "cn", "o*", "Cn-*", "cn-hangzhou.evil", "cn-?", "cn-[a]", `cn-\*`, "-cn", "cn--a", "cn-", "", "cn-" + strings.Repeat("a", 64)} {
		if _, err := ParseRegions([]string{"cn-test-1", pattern}); err == nil {
			t.Errorf("%q is accepted", pattern)
		}
	}
}
