package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	simulatorclient "github.com/sgp-operator/sgp-operator/internal/ecssim/client"
)

const (
	// simulatorCommand as the first argument makes this program the simulator.
	simulatorCommand = "simulator"
	benchKey         = "bench-key"
	// benchSecret is known to the simulator and the manager.
	benchSecret = "bench-secret"
	region      = "cn-hangzhou"
	listAction  = "DescribeSecurityGroups"
	readAction  = "DescribeSecurityGroupAttribute"
	writeAction = "ModifySecurityGroupPolicy"
)

func groupName(i int) string { return fmt.Sprintf("sg-bench%06d", i) }

// call is one call as the simulator saw it.
type call struct {
	// At is the arrival in microseconds of Unix time.
	At     int64  `json:"t"`
	Action string `json:"a"`
	Status int    `json:"s"`
}

// simulator is the process that stands for ECS.
type simulator struct {
	*simulatorclient.Client
	// taken is how many of its calls were fetched.
	taken int
}

// listing is what a tally answers.
type listing struct {
	// Count is the number of calls so far, Groups that of the groups that were read
	// since the calls were fetched last.
	Count, Groups int
	Calls         []call
}

const tallyPath = "/_bench/calls"

func (s *simulator) list(ctx context.Context, query string) (l listing, err error) {
	text, err := rig.Get(ctx, s.URL()+tallyPath+query)
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(text, &l)
}

// count is the number of calls that were made since the last take.
func (s *simulator) count(ctx context.Context) (int, error) {
	l, err := s.list(ctx, "")
	return l.Count - s.taken, err
}

// groupsRead is the number of groups that were read since the last take.
func (s *simulator) groupsRead(ctx context.Context) (int, error) {
	l, err := s.list(ctx, "")
	return l.Groups, err
}

// take fetches the calls that were made since it was called last.
func (s *simulator) take(ctx context.Context) ([]call, error) {
	l, err := s.list(ctx, "?from="+strconv.Itoa(s.taken))
	s.taken += len(l.Calls)
	return l.Calls, err
}

// effect is when the manager last changed a group after a moment.
func (s *simulator) effect(ctx context.Context, i int, after time.Time) (time.Time, error) {
	effects, err := s.Effects(ctx, region, groupName(i))
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range effects {
		if e.ByAPI && e.Time.After(after) {
			return e.Time, nil
		}
	}
	return time.Time{}, fmt.Errorf("the edit of %s never reached the cloud", groupName(i))
}

// tally notes the calls that pass through it. The simulator's own log holds a
// kilobyte for each, and is copied whenever it is read.
type tally struct {
	next  http.Handler
	mu    sync.Mutex
	calls []call
	// groups are those that were read since the calls were fetched last.
	groups map[string]bool
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// ServeHTTP implements http.Handler.
func (t *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == tallyPath:
		t.list(w, r)
		return
	case len(r.URL.Path) > 1:
		t.next.ServeHTTP(w, r)
		return
	}
	action := r.Header.Get("x-acs-action")
	if action == "" {
		action = r.URL.Query().Get("Action")
	}
	t.mu.Lock()
	i := len(t.calls)
	if action == readAction {
		t.groups[r.URL.Query().Get("SecurityGroupId")] = true
	}
	t.calls = append(t.calls, call{At: time.Now().UnixMicro(), Action: action})
	t.mu.Unlock()
	s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	t.next.ServeHTTP(s, r)
	t.mu.Lock()
	t.calls[i].Status = s.status
	t.mu.Unlock()
}

// list answers with the calls from a number on, or with counts alone.
func (t *tally) list(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	answer := listing{Count: len(t.calls), Groups: len(t.groups)}
	if from, err := strconv.Atoi(r.URL.Query().Get("from")); err == nil && from <= len(t.calls) {
		answer.Calls = append(answer.Calls, t.calls[from:]...)
		t.groups = map[string]bool{}
	}
	t.mu.Unlock()
	_ = json.NewEncoder(w).Encode(answer)
}

// startSimulator starts the process, with a limit of its own for calls per second unless
// that is 0, and returns its base URL.
func startSimulator(ctx context.Context, r *rig.Rig, latency time.Duration, groups int, limit float64) (url string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	process, err := r.Start(ctx, rig.Program{Name: simulatorCommand, Path: self, Args: []string{
		simulatorCommand, "--latency", latency.String(), "--groups", fmt.Sprint(groups), "--qps", fmt.Sprint(limit)}})
	if err != nil {
		return "", err
	}
	return process.FirstLine(ctx)
}

// serveSimulator is the whole life of the simulator's process. Its first line on
// stdout is the base URL.
func serveSimulator(args []string) error {
	flags := flag.NewFlagSet(simulatorCommand, flag.ContinueOnError)
	latency := flags.Duration("latency", 0, "What each call takes.")
	groups := flags.Int("groups", 0, "Number of groups, all set to Accept.")
	qps := flags.Float64("qps", 0, "Calls per second for each action; 0: no limit.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sim := ecssim.New(ecssim.Options{
		Keys: []ecssim.Key{{ID: benchKey, Secret: benchSecret}}, Latency: *latency, CallLog: 1000,
	})
	for i := range *groups {
		sim.PutGroup(ecssim.Group{Region: region, ID: groupName(i), Name: fmt.Sprintf("team-%02d/web-frontend-%d", i%40, i), Policy: ecssim.Accept})
	}
	if *qps > 0 {
		sim.SetLimits([]ecssim.Limit{{QPS: *qps, Burst: int(math.Ceil(*qps)), RetryAfter: true, AcsRetryAfter: true}})
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: &tally{next: sim, groups: map[string]bool{}}, ReadHeaderTimeout: time.Minute}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
