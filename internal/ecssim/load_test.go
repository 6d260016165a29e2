package ecssim

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// signedRead makes a request without an SDK, which would cost more than the
// server.
func signedRead(group string, nonce int) *http.Request {
	query := url.Values{
		"Action": {"DescribeSecurityGroupAttribute"}, "Format": {"JSON"}, "Version": {ecsVersion},
		"AccessKeyId": {testKey.ID}, "SignatureMethod": {"HMAC-SHA1"}, "SignatureVersion": {"1.0"},
		"SignatureNonce": {fmt.Sprint(nonce)}, "Timestamp": {time.Now().UTC().Format(timeFormat)},
		"RegionId": {testRegion}, "SecurityGroupId": {group}, "MaxResults": {"10"}, "Direction": {"egress"},
	}
	mac := hmac.New(sha1.New, []byte(testKey.Secret+"&"))
	mac.Write([]byte("GET&%2F&" + percentEncode(canonicalQuery(query))))
	query.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return httptest.NewRequest(http.MethodGet, "/?"+query.Encode(), nil)
}

func manyGroups(n int) []Group {
	groups := make([]Group, n)
	for i := range groups {
		groups[i] = Group{Region: testRegion, ID: fmt.Sprintf("sg-%06d", i), Rules: 4}
	}
	return groups
}

// Everything at once, for the race detector.
func TestManyCallsAndChangesAtOnce(t *testing.T) {
	s := New(Options{Keys: []Key{testKey}, Groups: manyGroups(50), CallLog: 100})
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("sg-%06d", i)
				w := httptest.NewRecorder()
				s.ServeHTTP(w, signedRead(id, worker*1000+i))
				if w.Code != 200 && w.Code != 400 && w.Code != 404 && w.Code != 500 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				switch worker {
				case 0:
					s.SetPolicy(testRegion, id, Drop)
				case 1:
					s.PutGroup(Group{Region: testRegion, ID: id})
				case 2:
					s.SetLimits([]Limit{{PerWindow: 1000}})
				case 3:
					s.Inject(Fault{Kind: Error, Times: 1})
				case 4:
					_ = s.Calls()
				case 5:
					s.SetReadLag(ReadLag{Reads: i % 2})
				case 6:
					s.Consume("", testRegion, "DescribeSecurityGroupAttribute", 1)
				case 7:
					_ = s.Effects(testRegion, id)
					s.Release()
				}
			}
		})
	}
	wait.Wait()
	wantEqual(t, "calls", s.CallCount("DescribeSecurityGroupAttribute"), 400)
}

func BenchmarkRead(b *testing.B) {
	s := New(Options{Keys: []Key{testKey}, Groups: manyGroups(50_000), CallLog: 10_000})
	requests := make([]*http.Request, b.N)
	for i := range requests {
		requests[i] = signedRead(fmt.Sprintf("sg-%06d", i%50_000), i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, request := range requests {
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, request); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
