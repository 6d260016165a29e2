package cli

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// held is how much memory is live.
func held() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAGroupCostsItsNamesOnly: neither tags nor answers are kept of what was read.
func TestAGroupCostsItsNamesOnly(t *testing.T) {
	const groups, each = 4000, 600
	sim := ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: "AK", Secret: "SK"}}, CallLog: 1})
	for i := range groups {
		sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: fmt.Sprintf("sg-%022d", i), Name: fmt.Sprintf("team/frontend-%d", i),
			Policy: "Drop", Tags: map[string]string{"note": strings.Repeat("x", 1000)}})
	}
	url, stop, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	endpoint, err := ecs.ParseEndpoint(url, false)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "AK", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "SK"}
	accounts, err := account.New(account.Options{Endpoint: endpoint, Timeout: 10 * time.Second, QPS: 1e6, Burst: 100,
		Env: func(name string) string { return env[name] }, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	client, err := accounts.Own()
	if err != nil {
		t.Fatal(err)
	}
	before := held()
	f := fetch{client: client, qps: 1, progress: &progress{}}
	found, err := f.run(t.Context(), &selection{regions: []string{"cn-hangzhou"}})
	if err != nil || len(found.groups) != groups {
		t.Fatalf("%d groups, %v", len(found.groups), err)
	}
	all := nameAll(found.groups)
	if now := held(); now > before+groups*each {
		t.Errorf("%d bytes for each group, want %d at most", (now-before)/groups, each)
	} else {
		t.Logf("%d bytes for each group", (int64(now)-int64(before))/groups)
	}
	runtime.KeepAlive(all)
	runtime.KeepAlive(found)
}
