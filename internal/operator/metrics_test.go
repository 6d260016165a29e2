package operator_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	certutil "k8s.io/client-go/util/cert"
)

// serveMetrics has the manager serve metrics by HTTPS, and tells where.
func (w *world) serveMetrics() (address string) {
	w.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.options.MetricsBindAddress, w.options.MetricsSecure = address, true
	return address
}

// handshake is what a client of the metrics is offered; it asks for HTTP/2 first.
func (w *world) handshake(address string) (state tls.ConnectionState, err error) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}}
	conn, err := dialer.DialContext(w.t.Context(), "tcp", address)
	if err != nil {
		return state, err
	}
	return conn.(*tls.Conn).ConnectionState(), conn.Close()
}

func TestMetricsAreNotServedByHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	address := w.serveMetrics()
	w.start()
	var state tls.ConnectionState
	w.eventually("metrics are served", func() (served bool) {
		var err error
		state, err = w.handshake(address)
		return err == nil
	}, func() string { return address })
	if state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("%q is spoken", state.NegotiatedProtocol)
	}
}

// issue puts a certificate for a name where a mounted Secret would have it.
func issue(t *testing.T, folder, name string) {
	t.Helper()
	certificate, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{"tls.key": key, "tls.crt": certificate} {
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMetricsAreServedWithTheGivenCertificateAndItsSuccessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	address := w.serveMetrics()
	w.options.MetricsCertPath = t.TempDir()
	issue(t, w.options.MetricsCertPath, "first.example")
	w.start()
	shows := func(name string) {
		t.Helper()
		w.eventually("the certificate of "+name+" is shown", func() bool {
			state, err := w.handshake(address)
			return err == nil && state.PeerCertificates[0].VerifyHostname(name) == nil
		}, func() string { return address })
	}
	shows("first.example")
	issue(t, w.options.MetricsCertPath, "second.example")
	shows("second.example")
}
