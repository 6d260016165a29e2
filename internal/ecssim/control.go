package ecssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const controlPrefix = "/_sim/"

// controlAPI mirrors the methods of Server for tests and people that are outside
// the process.
func (s *Server) controlAPI() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(r *http.Request) (any, error)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+controlPrefix+path, func(w http.ResponseWriter, r *http.Request) {
			if err := s.admitControl(r); err != nil {
				respond(w, nil, err)
				return
			}
			result, err := do(r)
			respond(w, result, err)
		})
	}
	handle("GET healthz", func(*http.Request) (any, error) { return map[string]string{"status": "ok"}, nil })
	handle("GET groups", func(*http.Request) (any, error) { return s.Groups(), nil })
	handle("POST groups", func(r *http.Request) (any, error) { return nil, put(r, Group.Validate, s.PutGroup) })
	handle("GET groups/{region}/{id}", s.getGroup)
	handle("DELETE groups/{region}/{id}", func(r *http.Request) (any, error) {
		s.DeleteGroup(r.PathValue("region"), r.PathValue("id"))
		return nil, nil
	})
	handle("PUT groups/{region}/{id}/policy", s.putPolicy)
	handle("GET effects/{region}/{id}", func(r *http.Request) (any, error) {
		return append([]Effect{}, s.Effects(r.PathValue("region"), r.PathValue("id"))...), nil
	})
	handle("POST instances", func(r *http.Request) (any, error) { return nil, put(r, Instance.Validate, s.PutInstance) })
	handle("DELETE instances/{region}/{id}", func(r *http.Request) (any, error) {
		s.DeleteInstance(r.PathValue("region"), r.PathValue("id"))
		return nil, nil
	})
	handle("POST interfaces", func(r *http.Request) (any, error) { return nil, put(r, Interface.Validate, s.PutInterface) })
	handle("DELETE interfaces/{region}/{id}", func(r *http.Request) (any, error) {
		s.DeleteInterface(r.PathValue("region"), r.PathValue("id"))
		return nil, nil
	})
	handle("POST prefixlists", func(r *http.Request) (any, error) { return nil, put(r, PrefixList.Validate, s.PutPrefixList) })
	handle("POST keys", func(r *http.Request) (any, error) { return nil, put(r, Key.Validate, s.PutKey) })
	handle("DELETE keys/{id}", func(r *http.Request) (any, error) {
		s.DeleteKey(r.PathValue("id"))
		return nil, nil
	})
	handle("POST roles", func(r *http.Request) (any, error) { return nil, put(r, Role.Validate, s.PutRole) })
	handle("GET calls", s.getCalls)
	handle("DELETE calls", func(*http.Request) (any, error) { s.ResetCalls(); return nil, nil })
	handle("POST faults", s.postFaults)
	handle("DELETE faults", func(*http.Request) (any, error) { s.ClearFaults(); return nil, nil })
	handle("PUT limits", s.putLimits)
	handle("PUT readlag", func(r *http.Request) (any, error) {
		lag, err := decode[ReadLag](r)
		if err == nil {
			s.SetReadLag(lag)
		}
		return nil, err
	})
	handle("PUT latency", func(r *http.Request) (any, error) {
		body, err := decode[struct {
			Latency string `json:"latency"`
		}](r)
		if err != nil {
			return nil, err
		}
		latency, err := parseDuration("latency", body.Latency)
		if err == nil {
			s.SetLatency(latency)
		}
		return nil, err
	})
	handle("POST consume", s.postConsume)
	handle("POST release", func(*http.Request) (any, error) { s.Release(); return nil, nil })
	mux.HandleFunc(controlPrefix, func(w http.ResponseWriter, r *http.Request) {
		respond(w, nil, notFound(fmt.Sprintf("%s %s is not part of the control API: see docs/simulator.md", r.Method, r.URL.Path)))
	})
	return mux
}

// admitControl keeps other machines out, and the web pages that somebody looks at on
// this one: a page can send forms and texts anywhere, and a name of its own can lead
// here.
func (s *Server) admitControl(r *http.Request) error {
	const see = ": see docs/simulator.md"
	if !s.controlFromAny {
		remote, _, _ := net.SplitHostPort(r.RemoteAddr)
		if host := hostname(r.Host); !loopback(remote) || host != "localhost" && !loopback(host) {
			return notAllowed("the control API is for this machine, by a loopback address" + see)
		}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return notAllowed("the control API is not for the web pages of others" + see)
		}
	}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodGet && r.ContentLength != 0 && mediaType != "application/json" {
		return notJSON("send the body as Content-Type: application/json" + see)
	}
	return nil
}

// hostname is a Host header without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func loopback(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Unmap().IsLoopback()
}

// These errors are answered with a status of their own.
type (
	notFound   string
	notAllowed string
	notJSON    string
)

func (e notFound) Error() string   { return string(e) }
func (e notAllowed) Error() string { return string(e) }
func (e notJSON) Error() string    { return string(e) }

func respond(w http.ResponseWriter, result any, err error) {
	status := http.StatusOK
	if err != nil {
		switch err.(type) { //nolint:errorlint // these are never wrapped
		case notFound:
			status = http.StatusNotFound
		case notAllowed:
			status = http.StatusForbidden
		case notJSON:
			status = http.StatusUnsupportedMediaType
		default:
			status = http.StatusBadRequest
		}
		result = map[string]string{"error": err.Error()}
	} else if result == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result)
}

func (s *Server) getGroup(r *http.Request) (any, error) {
	g, ok := s.Group(r.PathValue("region"), r.PathValue("id"))
	if !ok {
		return nil, unknownGroup(r)
	}
	return g, nil
}

func unknownGroup(r *http.Request) error {
	return notFound(fmt.Sprintf("no group %s in %s: create it with POST %sgroups", r.PathValue("id"), r.PathValue("region"), controlPrefix))
}

func (s *Server) putPolicy(r *http.Request) (any, error) {
	body, err := decode[struct {
		Policy string `json:"policy"`
	}](r)
	if err != nil {
		return nil, err
	}
	if canonicalPolicy(body.Policy) == "" {
		return nil, fmt.Errorf("policy %q: use Accept or Drop", body.Policy)
	}
	if _, ok := s.Group(r.PathValue("region"), r.PathValue("id")); !ok {
		return nil, unknownGroup(r)
	}
	s.SetPolicy(r.PathValue("region"), r.PathValue("id"), body.Policy)
	return nil, nil
}

func (s *Server) getCalls(r *http.Request) (any, error) {
	action, text := r.URL.Query().Get("action"), r.URL.Query().Get("since")
	var since time.Time
	if text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, fmt.Errorf("since %q: use a time such as 2026-01-02T15:04:05Z", text)
		}
	}
	calls := []Call{}
	for _, c := range s.Calls() {
		if (action == "" || c.Action == action) && !c.Time.Before(since) {
			calls = append(calls, c)
		}
	}
	return calls, nil
}

func (s *Server) postFaults(r *http.Request) (any, error) {
	ids := []int{}
	err := each(r, func(f Fault) error {
		if !faultKinds[f.Kind] {
			return fmt.Errorf("kind %q: use one of the fault kinds in docs/simulator.md", f.Kind)
		}
		if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
			return fmt.Errorf("status %d: use 200 to 599", f.Status)
		}
		if f.Probability < 0 || f.Probability > 1 {
			return fmt.Errorf("probability %v: use 0 (always) to 1", f.Probability)
		}
		ids = append(ids, s.Inject(f))
		return nil
	})
	return map[string][]int{"ids": ids}, err
}

func (s *Server) putLimits(r *http.Request) (any, error) {
	var limits []Limit
	err := each(r, func(l Limit) error {
		if l.PerWindow < 0 || l.QPS < 0 || l.PerWindow == 0 && l.QPS == 0 {
			return errors.New("a limit needs perWindow or qps above 0; an empty list ends all limits")
		}
		limits = append(limits, l)
		return nil
	})
	if err == nil {
		s.SetLimits(limits)
	}
	return nil, err
}

func (s *Server) postConsume(r *http.Request) (any, error) {
	body, err := decode[struct {
		Account string `json:"account"`
		Region  string `json:"region"`
		Action  string `json:"action"`
		N       int    `json:"n"`
	}](r)
	if err != nil {
		return nil, err
	}
	if body.N <= 0 {
		return nil, fmt.Errorf("n %d: use 1 or more", body.N)
	}
	s.Consume(body.Account, body.Region, body.Action, body.N)
	return nil, nil
}

const maxControlBody = 64 << 20

// decode reads the body of a control request and accepts known fields only.
func decode[T any](r *http.Request) (T, error) {
	var value T
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxControlBody))
	if err != nil {
		return value, fmt.Errorf("read the body: %w", err)
	}
	return value, strict(raw, &value)
}

// put takes one T or a list of them, if they can be.
func put[T any](r *http.Request, validate func(T) error, keep func(T)) error {
	return each(r, func(value T) error {
		if err := validate(value); err != nil {
			return err
		}
		keep(value)
		return nil
	})
}

// each reads one T or a list of them.
func each[T any](r *http.Request, do func(T) error) error {
	raw, err := decode[json.RawMessage](r)
	if err != nil {
		return err
	}
	list := []json.RawMessage{raw}
	isList := raw[0] == '['
	if isList {
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("body: %w", err)
		}
	}
	for i, element := range list {
		var value T
		err := strict(element, &value)
		if err == nil {
			err = do(value)
		}
		if err != nil && isList {
			return fmt.Errorf("element %d: %w", i, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
