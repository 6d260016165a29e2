// Package slim takes the managed fields out of what the API server answers before it
// is decoded. They are half of a resource and of each event of a watch, nobody here
// reads them, and client-go reads each event's text several times over. It knows
// nothing but HTTP.
package slim

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

// Transport returns a wrapper for rest.Config.Wrap: it empties metadata.managedFields
// in the JSON answers to requests for resources, named in the plural: to reads, lists
// and watches, and to writes. All other answers pass as they are.
func Transport(resources ...string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		t := &transport{RoundTripper: next}
		for _, resource := range resources {
			t.segments = append(t.segments, "/"+resource)
		}
		return t
	}
}

type transport struct {
	http.RoundTripper

	segments []string
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil || !t.concerns(request.URL.Path) ||
		response.Header.Get("Content-Encoding") != "" || !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		return response, err
	}
	response.Header.Del("Content-Length")
	response.ContentLength = -1
	response.Body = &body{ReadCloser: response.Body}
	return response, nil
}

func (t *transport) concerns(path string) bool {
	return slices.ContainsFunc(t.segments, func(segment string) bool { return strings.Contains(path, segment) })
}

// WrappedRoundTripper lets client-go find the connections behind, to close idle ones.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }

// opening is how the managed fields begin in the JSON that the API server writes, which
// has no spaces. Within a text the quotes would be escaped.
const opening = `"managedFields":[`

// body is an answer without managed fields: "managedFields":[] is what is left of them.
type body struct {
	io.ReadCloser

	// matched is how much of opening was read last, and escaped says that the byte
	// before was a backslash.
	matched int
	escaped bool
	// depth is how many brackets and braces are open among the managed fields, of
	// which quoted is a text.
	depth  int
	quoted bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.ReadCloser.Read(p)
		n = b.keep(p[:n])
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// keep moves what is to be kept to the front, and returns its length.
func (b *body) keep(p []byte) (kept int) {
	for _, c := range p {
		switch {
		case b.depth > 0:
			b.skip(c)
			if b.depth > 0 {
				continue
			}
		case c == opening[b.matched] && !b.escaped:
			if b.matched++; b.matched == len(opening) {
				b.matched, b.depth = 0, 1
			}
		case c == '"' && !b.escaped:
			b.matched = 1
		default:
			b.matched = 0
		}
		b.escaped = c == '\\' && !b.escaped
		p[kept] = c
		kept++
	}
	return kept
}

// skip reads a byte of the managed fields.
func (b *body) skip(c byte) {
	switch {
	case b.escaped:
		b.escaped = false
	case b.quoted && c == '\\':
		b.escaped = true
	case c == '"':
		b.quoted = !b.quoted
	case b.quoted:
	case c == '[' || c == '{':
		b.depth++
	case c == ']' || c == '}':
		b.depth--
	}
}
