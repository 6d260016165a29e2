package ecssim

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the first generation of signatures is defined on it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	v3Algorithm = "ACS3-HMAC-SHA256"
	timeFormat  = "2006-01-02T15:04:05Z"
	// clockSkew is how far a signature's time may be from the server's. One page
	// of the documentation says 31 minutes for V1, the others 15.
	clockSkew = 15 * time.Minute
)

// authenticate checks a signed call and finds its key.
func (s *Server) authenticate(c *call) *apiError {
	sig, now := signatureOf(c), s.now()
	if refusal := sig.complete(); refusal != nil {
		return refusal
	}
	signedAt, refusal := checkTime(sig.timestamp, now)
	if refusal != nil {
		return refusal
	}
	s.mu.Lock()
	key, refusal := s.keys.find(sig.keyID, sig.token, now)
	s.mu.Unlock()
	if refusal != nil {
		return refusal
	}
	if toSign, ok := sig.verify(c, key.Secret); !ok {
		code := "SignatureDoesNotMatch"
		if s.incompleteSignature {
			code = "IncompleteSignature"
		}
		return refuse(400, code, "Specified signature is not matched with our calculation. server string to sign is:%s", toSign)
	}
	s.mu.Lock()
	fresh := s.nonces.use(now, signedAt, sig.keyID, sig.nonce)
	s.mu.Unlock()
	if !fresh {
		return refuse(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
	}
	c.key = key
	return nil
}

// checkTime holds a signature's time against the server's.
func checkTime(timestamp string, now time.Time) (time.Time, *apiError) {
	if timestamp == "" {
		return time.Time{}, refuse(400, "IllegalTimestamp", "The input parameter Timestamp that is mandatory for processing this request is not supplied.")
	}
	t, err := time.Parse(timeFormat, timestamp)
	if err != nil {
		return time.Time{}, refuse(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
	}
	if now.Sub(t).Abs() > clockSkew {
		return time.Time{}, refuse(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
	}
	return t, nil
}

// signature is what a request says of its own origin, in either generation.
type signature struct {
	v3            bool
	keyID, token  string
	timestamp     string
	nonce         string
	method        string
	version       string
	value         string
	signedHeaders []string
}

func signatureOf(c *call) signature {
	h := c.request.Header
	if header := h.Get("Authorization"); header != "" {
		a := parseAuthorization(header)
		return signature{
			v3: true, keyID: a.credential, method: a.algorithm, value: a.signature, signedHeaders: a.signedHeaders,
			token: h.Get("x-acs-security-token"), timestamp: h.Get("x-acs-date"), nonce: h.Get("x-acs-signature-nonce"),
		}
	}
	return signature{
		keyID: c.param("AccessKeyId"), method: c.param("SignatureMethod"), version: c.param("SignatureVersion"),
		value: c.param("Signature"), token: c.param("SecurityToken"),
		timestamp: c.param("Timestamp"), nonce: c.param("SignatureNonce"),
	}
}

// complete refuses a signature that lacks a part.
func (g signature) complete() *apiError {
	switch {
	case g.keyID == "" && !g.v3:
		return missing("AccessKeyId")
	case g.value == "" && !g.v3:
		return missing("Signature")
	case g.v3 && (g.method != v3Algorithm || g.keyID == "" || g.value == "" || len(g.signedHeaders) == 0),
		!g.v3 && (g.method != "HMAC-SHA1" || g.version != "1.0"):
		return refuse(400, "IncompleteSignature", "The request signature does not conform to Aliyun standards.")
	case g.nonce == "":
		return missing("SignatureNonce")
	}
	return nil
}

// verify compares the signature with the one that the secret gives, and returns
// what should have been signed: ECS repeats it to who got it wrong.
func (g signature) verify(c *call, secret string) (toSign string, ok bool) {
	if !g.v3 {
		toSign = stringToSignV1(c)
		mac := hmac.New(sha1.New, []byte(secret+"&"))
		mac.Write([]byte(toSign))
		ok = hmac.Equal([]byte(g.value), []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))))
		return toSign, ok && (c.request.Header.Get(contentHash) == "" || trueContentHash(c))
	}
	canonical := canonicalRequestV3(c, g.signedHeaders)
	hash := sha256.Sum256([]byte(canonical))
	toSign = v3Algorithm + "\n" + hex.EncodeToString(hash[:])
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(toSign))
	ok = hmac.Equal([]byte(g.value), []byte(hex.EncodeToString(mac.Sum(nil)))) && allSigned(c, g.signedHeaders) && trueContentHash(c)
	return toSign + ", server canonical request is:" + canonical, ok
}

func stringToSignV1(c *call) string {
	params := c.params()
	delete(params, "Signature")
	return c.request.Method + "&%2F&" + percentEncode(canonicalQuery(params))
}

// canonicalQuery sorts by the plain names: encoded pairs would sort differently
// where one name begins another.
func canonicalQuery(values url.Values) string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		for _, value := range slices.Sorted(slices.Values(values[name])) {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(percentEncode(name) + "=" + percentEncode(value))
		}
	}
	return b.String()
}

func canonicalRequestV3(c *call, signedHeaders []string) string {
	path := c.request.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	var b strings.Builder
	b.WriteString(c.request.Method + "\n" + path + "\n" + canonicalQuery(c.query) + "\n")
	for _, name := range signedHeaders {
		value := strings.Join(c.request.Header.Values(name), ",")
		if name == "host" {
			value = c.request.Host
		}
		b.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	hash := sha256.Sum256(c.body)
	b.WriteString("\n" + strings.Join(signedHeaders, ";") + "\n" + hex.EncodeToString(hash[:]))
	return b.String()
}

const contentHash = "x-acs-content-sha256"

// trueContentHash tells whether the header that names the hash of the body does so.
func trueContentHash(c *call) bool {
	hash := sha256.Sum256(c.body)
	return strings.EqualFold(c.request.Header.Get(contentHash), hex.EncodeToString(hash[:]))
}

// allSigned tells whether the signature covers the host, the type of the body and every
// x-acs header: a header outside it could have been changed by anybody.
func allSigned(c *call, signedHeaders []string) bool {
	for name := range c.request.Header {
		name = strings.ToLower(name)
		if (strings.HasPrefix(name, "x-acs-") || name == "content-type") && !slices.Contains(signedHeaders, name) {
			return false
		}
	}
	return slices.Contains(signedHeaders, "host") && slices.IsSorted(signedHeaders)
}

// percentEncode encodes as RFC 3986 says: only unreserved characters stay.
func percentEncode(s string) string {
	const upperHex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

// authorization is the header of a V3 signature, taken apart.
type authorization struct {
	algorithm, credential, signature string
	signedHeaders                    []string
}

// parseAuthorization takes what it understands; what is missing stays empty.
func parseAuthorization(header string) authorization {
	var a authorization
	algorithm, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	a.algorithm = algorithm
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			a.credential = value
		case "Signature":
			a.signature = value
		case "SignedHeaders":
			if value != "" {
				a.signedHeaders = strings.Split(strings.ToLower(value), ";")
			}
		}
	}
	return a
}
