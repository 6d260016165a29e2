package ecs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// labels are the values that a label of the calls' metric has.
func labels(t *testing.T, name string) map[string]bool {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]bool{}
	for _, family := range families {
		if family.GetName() != "sgp_ecs_requests_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == name {
					values[l.GetValue()] = true
				}
			}
		}
	}
	return values
}

func TestAnEndpointThatMakesUpCodesMakesUpNoMetrics(t *testing.T) {
	var n atomic.Int64
	forms := []string{"Throttling.Made%d", "Made%d.Throttling", "AuthenticationFail.Made%d", "EntityNotExist.Role.Made%d", "Made%d", "InvalidParameter.Made%d"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i := n.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"Code":"`+forms[i%int64(len(forms))]+`","Message":"m","RequestId":"R"}`, i)
	}))
	t.Cleanup(server.Close)
	before := labels(t, "code")
	for range 10 * len(forms) {
		_, _, _ = clientOf(t, server.URL).Observe(t.Context(), group, ratelimit.Edit)
	}
	for code := range labels(t, "code") {
		if !before[code] && code != "other" && code != "Throttling" {
			t.Errorf("the code %s is a label", code)
		}
	}
}

func TestACodeOfTheTableIsALabel(t *testing.T) {
	for _, code := range []string{"InvalidSecurityGroupId.NotFound", "Throttling.User", "InternalError", "OperationConflict", "InvalidResponse"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			if code != ecs.CodeInvalidResponse {
				_, _ = fmt.Fprintf(w, `{"Code":%q,"Message":"m","RequestId":"R"}`, code)
			}
		}))
		_, _, _ = clientOf(t, server.URL).Observe(t.Context(), group, ratelimit.Edit)
		server.Close()
		if !labels(t, "code")[code] {
			t.Errorf("%s is no label", code)
		}
	}
}

func TestRegionsThatAnEndpointAnswersForMakeNoMetricsWithoutEnd(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"RequestId":"R","SecurityGroupId":"sg-1","InnerAccessPolicy":"Drop"}`)
	}))
	t.Cleanup(server.Close)
	all, err := ecs.ParseRegions([]string{"cn-made-*"})
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, server.URL, func(o *ecs.Options) { o.Regions = all })
	for i := range 300 {
		if _, _, err := c.Observe(t.Context(), ecs.Group{RegionID: fmt.Sprint("cn-made-", i), SecurityGroupID: "sg-1"}, ratelimit.Edit); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(labels(t, "region")); n > 150 {
		t.Errorf("%d regions are labels", n)
	}
}
