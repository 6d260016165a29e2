package ecs

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	hidden     = "[redacted]"
	maxMessage = 1024
)

var (
	// echoes is where ECS begins to repeat what was signed, key and token
	// included: all that follows goes.
	echoes = regexp.MustCompile(`(?is)(server )?(string to sign|stringtosign|canonical(ized)? ?request|canonicalrequest)\b.*`)

	// named are values that follow a telling name, in a query, a header, JSON or
	// XML, percent-encoded or not.
	named = regexp.MustCompile(`(?i)((?:access[-_]?key[-_]?(?:id|secret)?|security[-_]?token|x-acs-security-token|signature|secret|credential|authorization|oidc[-_]?token|password)["']?\s*(?:=|:|>|%3D|%253D)\s*["']?(?:ACS3-HMAC-SHA256\s+)?)([^\s"'&<>,;]+)`)

	// shapes are keys and tokens by their own shape, and any long run of digits
	// and letters such as a signature or a session token.
	shapes = regexp.MustCompile(`\b(?:LTAI|STS\.|TMP\.)[A-Za-z0-9]{6,}|[A-Za-z0-9+/=_%.]{40,}`)
)

// redact makes a text that came from outside fit to be shown: the secrets go,
// known by value or by shape, and so do control characters; what is left is cut
// to maxMessage characters.
func redact(text string, secrets ...string) string {
	for _, s := range secrets {
		if len(s) < 4 {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.QueryEscape(url.QueryEscape(s)), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, hidden)
		}
	}
	text = echoes.ReplaceAllString(text, "${1}${2} "+hidden)
	text = named.ReplaceAllString(text, "${1}"+hidden)
	text = shapes.ReplaceAllString(text, hidden)
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) > maxMessage {
		text = string([]rune(text)[:maxMessage-1]) + "…"
	}
	return text
}

// requestID accepts what has the form of a request id and nothing else, so that it
// can be shown as it is.
func requestID(s string) string {
	if len(s) > 64 || !plainID.MatchString(s) {
		return ""
	}
	return s
}

// code accepts what has the form of an error code.
func code(s string) string {
	if len(s) > 128 || !plainID.MatchString(s) {
		return ""
	}
	return s
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
