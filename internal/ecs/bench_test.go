package ecs_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// benchRule is a rule with all the fields that ECS sends, most of them empty.
const benchRule = `{"SecurityGroupRuleId":"sgr-bp1abcdefghijk%02d","Direction":"ingress","IpProtocol":"TCP","PortRange":"%d/%d",` +
	`"SourceCidrIp":"10.0.0.0/8","Ipv6SourceCidrIp":"","SourcePortRange":"","SourceGroupId":"","SourceGroupName":"","SourceGroupOwnerAccount":"",` +
	`"SourcePrefixListId":"","SourcePrefixListName":"","DestCidrIp":"","Ipv6DestCidrIp":"","DestGroupId":"","DestGroupName":"","DestGroupOwnerAccount":"",` +
	`"DestPrefixListId":"","DestPrefixListName":"","PortRangeListId":"","PortRangeListName":"","Policy":"Accept","Priority":"1","NicType":"intranet",` +
	`"Description":"from the office network","CreateTime":"2026-01-02T03:04:05Z"}`

// benchAnswers are the answers by action.
var benchAnswers = func() map[string][]byte {
	var rules []string
	for i := range 10 {
		rules = append(rules, fmt.Sprintf(benchRule, i, 8000+i, 8000+i))
	}
	return map[string][]byte{
		ecs.ActionObserve: []byte(`{"RequestId":"473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E","RegionId":"cn-hangzhou","SecurityGroupId":"sg-1",` +
			`"SecurityGroupName":"web-tier","Description":"","VpcId":"vpc-bp1abcdefghijklmnopqr","InnerAccessPolicy":"Drop","NextToken":"",` +
			`"Permissions":{"Permission":[` + strings.Join(rules, ",") + `]},"SnapshotPolicyIds":{"SnapshotPolicyId":[]}}`),
		ecs.ActionModify: []byte(`{"RequestId":"CEF72CEB-54B6-4AE8-B225-F876FF7BA984"}`),
	}
}()

// benchServer answers and does nothing else. It shares the process with the
// client, so that its cost is in every figure; BenchmarkPlainHTTP has it alone.
func benchServer(b *testing.B) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := benchAnswers[r.Header.Get("x-acs-action")]
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	}))
	b.Cleanup(server.Close)
	return server
}

// benchClient is a client that no rate limit holds back.
func benchClient(b *testing.B, endpoint string) *ecs.Client {
	e, err := ecs.ParseEndpoint(endpoint, false)
	if err != nil {
		b.Fatal(err)
	}
	return ecs.New(ecs.Options{
		Credentials: static{AccessKeyID: keyID, AccessKeySecret: secret}, Endpoint: e, Timeout: time.Minute, QPS: 1e9, Burst: 1e9,
	})
}

func observe(ctx context.Context, c *ecs.Client) error {
	seen, _, err := c.Observe(ctx, group, ratelimit.Resync)
	if err == nil && seen.Policy != ecs.Drop {
		err = fmt.Errorf("observed %q", seen.Policy)
	}
	return err
}

func BenchmarkObserve(b *testing.B) {
	c := benchClient(b, benchServer(b).URL)
	b.ReportAllocs()
	for b.Loop() {
		if err := observe(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkObserveParallel has as many callers as the manager has workers.
func BenchmarkObserveParallel(b *testing.B) {
	c := benchClient(b, benchServer(b).URL)
	b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := observe(b.Context(), c); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkModify(b *testing.B) {
	c := benchClient(b, benchServer(b).URL)
	b.ReportAllocs()
	for b.Loop() {
		if id, _, err := c.Modify(b.Context(), group, ecs.Drop, ecs.NewClientToken()); err != nil || id == "" {
			b.Fatalf("%q, %v", id, err)
		}
	}
}

// BenchmarkPlainHTTP is the floor of BenchmarkObserve: the same request, signed
// once and for all, and the same answer, read and thrown away.
func BenchmarkPlainHTTP(b *testing.B) {
	var signed http.Header
	var query string
	recorder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed, query = r.Header.Clone(), r.URL.RawQuery
		_, _ = w.Write(benchAnswers[ecs.ActionObserve])
	}))
	err := observe(b.Context(), benchClient(b, recorder.URL))
	recorder.Close()
	if err != nil {
		b.Fatal(err)
	}
	// The transport adds it, as it did for the original.
	signed.Del("Accept-Encoding")

	url := benchServer(b).URL + "/?" + query
	client := &http.Client{Transport: &http.Transport{}}
	b.Cleanup(client.CloseIdleConnections)
	b.ReportAllocs()
	for b.Loop() {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, nil)
		if err != nil {
			b.Fatal(err)
		}
		request.Header = signed
		response, err := client.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || len(body) != len(benchAnswers[ecs.ActionObserve]) {
			b.Fatalf("%d bytes, %v", len(body), err)
		}
	}
}
