package ecssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// SelfSigned makes a certificate for the loopback interface. Clients trust it by
// its PEM form; it is valid for a day around now.
func SelfSigned(now time.Time) (cert tls.Certificate, certPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "ecs-simulator"},
		NotBefore:    now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return cert, nil, fmt.Errorf("sign the certificate: %w", err)
	}
	cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Start serves on a free port of the loopback interface. Stop closes every
// connection, also those of hanging calls.
func (s *Server) Start() (baseURL string, stop func(), err error) {
	return s.start("http", nil)
}

// StartTLS is Start with HTTPS, for clients that speak nothing else. They trust
// the certificate in certPEM.
func (s *Server) StartTLS() (baseURL string, certPEM []byte, stop func(), err error) {
	cert, certPEM, err := SelfSigned(time.Now()) //nolint:forbidigo // clients check it against the real time
	if err != nil {
		return "", nil, nil, err
	}
	baseURL, stop, err = s.start("https", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	return baseURL, certPEM, stop, err
}

func (s *Server) start(scheme string, config *tls.Config) (baseURL string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a loopback listener is there at once
	if err != nil {
		return "", nil, fmt.Errorf("listen on the loopback interface: %w", err)
	}
	address := l.Addr().String()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	return scheme + "://" + address, func() {
		_ = server.Close()
		s.Release()
		<-done
	}, nil
}
