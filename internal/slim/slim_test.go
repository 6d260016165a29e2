package slim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"k8s.io/client-go/rest"
)

// slimmed is what is left of an answer that comes in pieces as the reader cuts them.
func slimmed(t *testing.T, answer string, pieces func(io.Reader) io.Reader) string {
	t.Helper()
	left, err := io.ReadAll(&body{ReadCloser: io.NopCloser(pieces(strings.NewReader(answer)))})
	if err != nil {
		t.Fatal(err)
	}
	return string(left)
}

func TestOnlyTheManagedFieldsAreTakenOut(t *testing.T) {
	const fields = `[{"manager":"a","fieldsV1":{"f:status":{"f:conditions":{"k:{\"type\":\"Re]a}dy\\\"}":{".":{}}}}}},{}]`
	for name, c := range map[string]struct{ answer, want string }{
		"a resource": {
			`{"metadata":{"generation":1,"managedFields":` + fields + `,"name":"p"},"spec":{"regionId":"r"}}`,
			`{"metadata":{"generation":1,"managedFields":[],"name":"p"},"spec":{"regionId":"r"}}`,
		},
		"the events of a watch": {
			`{"type":"ADDED","object":{"metadata":{"managedFields":` + fields + `}}}` + "\n" + `{"type":"MODIFIED","object":{"metadata":{"managedFields":` + fields + `}}}` + "\n",
			`{"type":"ADDED","object":{"metadata":{"managedFields":[]}}}` + "\n" + `{"type":"MODIFIED","object":{"metadata":{"managedFields":[]}}}` + "\n",
		},
		"none":              {`{"metadata":{"name":"p"}}`, `{"metadata":{"name":"p"}}`},
		"empty ones":        {`{"managedFields":[],"a":[1]}`, `{"managedFields":[],"a":[1]}`},
		"the words in text": {`{"a":"{\"managedFields\":[1]}","b":"\\","c":["\"managedFields\":["]}`, `{"a":"{\"managedFields\":[1]}","b":"\\","c":["\"managedFields\":["]}`},
		"a longer name":     {`{"\"managedFields":[1],"managedFieldsX":[2],"managedFields":"text"}`, `{"\"managedFields":[1],"managedFieldsX":[2],"managedFields":"text"}`},
		"an answer cut off": {`{"managedFields":[{"a":"`, `{"managedFields":[`},
	} {
		for pieces, cut := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "the last with its end": iotest.DataErrReader} {
			if got := slimmed(t, c.answer, cut); got != c.want {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", name, pieces, got, c.want)
			}
		}
	}
}

// FuzzBody holds what is left against what JSON itself says the managed fields are.
func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"metadata":{"managedFields":[{"f:a":"]\"}"}],"name":"p"}}`))
	f.Add([]byte(`[{"managedFields":[[],{"managedFields":[1]}]},"managedFields",{"a\\\"managedFields":[1]}]`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var value any
		if json.Unmarshal(answer, &value) != nil {
			return
		}
		written, err := json.Marshal(value) // as the API server writes it: no spaces
		if err != nil {
			t.Fatal(err)
		}
		left := slimmed(t, string(written), iotest.HalfReader)
		var got any
		if err := json.Unmarshal([]byte(left), &got); err != nil {
			t.Fatalf("%s became %s: %v", written, left, err)
		}
		if want := emptied(value); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s became %s", written, left)
		}
	})
}

func emptied(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = emptied(v[i])
		}
	case map[string]any:
		for key := range v {
			if _, list := v[key].([]any); list && key == "managedFields" {
				v[key] = []any{}
			} else {
				v[key] = emptied(v[key])
			}
		}
	}
	return value
}

func TestOnlyAnswersAboutTheResourceAreTouched(t *testing.T) {
	const answer, left = `{"metadata":{"managedFields":[{"manager":"a"}]}}`, `{"metadata":{"managedFields":[]}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	config.Wrap(Transport("things"))
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ method, path, accept, want string }{
		"a list":                {http.MethodGet, "/apis/g/v1/things", "application/json", left},
		"a watch":               {http.MethodGet, "/apis/g/v1/namespaces/n/things?watch=true", "application/json;stream=watch", left},
		"one":                   {http.MethodGet, "/apis/g/v1/namespaces/n/things/a", "application/json", left},
		"a write":               {http.MethodPatch, "/apis/g/v1/namespaces/n/things/a", "application/json", left},
		"another resource":      {http.MethodGet, "/apis/g/v1/others", "application/json", answer},
		"another serialization": {http.MethodGet, "/apis/g/v1/things", "application/vnd.kubernetes.protobuf", answer},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", c.accept)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || !bytes.Equal(got, []byte(c.want)) {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, c.want)
		}
	}
}
