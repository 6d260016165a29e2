package ecs

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeadersWithoutEndAreNotRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 200<<10))
	}))
	t.Cleanup(server.Close)
	_, failure := send(t.Context(), request{scheme: "http", host: strings.TrimPrefix(server.URL, "http://"), action: ActionObserve, version: apiVersion})
	if failure == nil || failure.Code != CodeConnectionFailed {
		t.Errorf("got %v", failure)
	}
}

// wire hands the connections of a transport to a server. The first one can be cut, so
// that nothing passes any more and neither side is told.
type wire struct {
	net.Listener

	accepted chan net.Conn
	dialed   atomic.Int64
	cut      atomic.Bool
}

func (w *wire) Accept() (net.Conn, error) {
	c, ok := <-w.accepted
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (w *wire) Close() error   { return nil }
func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }

func (w *wire) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	w.accepted <- server
	c := &cuttable{Conn: client}
	if w.dialed.Add(1) == 1 {
		c.cut = &w.cut
	}
	return c, nil
}

type cuttable struct {
	net.Conn

	cut *atomic.Bool
}

func (c *cuttable) Write(b []byte) (int, error) {
	if c.cut != nil && c.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func TestADeadConnectionIsNoticedAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{accepted: make(chan net.Conn, 8)}
		plain := new(http.Protocols)
		plain.SetUnencryptedHTTP2(true)
		server := &http.Server{Protocols: plain, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(w) }()
		transport := newTransport()
		transport.Proxy, transport.DialContext, transport.Protocols = nil, w.dial, plain
		client := &http.Client{Transport: transport}
		call := func() error {
			// Longer than any call may take: the connection has to be given up, not the call.
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ecs.example/", nil)
			if err != nil {
				return err
			}
			response, err := client.Do(r)
			if err != nil {
				return err
			}
			return response.Body.Close()
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		w.cut.Store(true)
		if err := call(); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call on a dead connection: %v", err)
		}
		if err := call(); err != nil || w.dialed.Load() != 2 {
			t.Errorf("afterwards: %v, %d connections", err, w.dialed.Load())
		}
		transport.CloseIdleConnections()
		close(w.accepted)
		_ = server.Close()
	})
}
