package ecs

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	hidden     = "[redacted]"
	maxMessage = 1024
	// maxRead bounds the work on a message, in bytes.
	maxRead = 32 << 10
)

var (
	// echoes is where ECS begins to repeat what was signed, key and token
	// included: all that follows goes.
	echoes = regexp.MustCompile(`(?is)(server )?(string to sign|stringtosign|canonical(ized)? ?request|canonicalrequest)\b.*`)

	// named are values that follow a telling name, in a query, a header, JSON or
	// XML, escaped or not.
	named = regexp.MustCompile(`(?i)((?:access[-_]?key[-_]?(?:id|secret)?|(?:security|session|oidc)[-_]?token|signature|secret|credential|authorization|passw(?:or)?d|pwd|api[-_]?key)` +
		quotes + `\s*(?:[=:>]|%3A|%3D|%253A|%253D)\s*` + quotes + `(?:(?:ACS3-HMAC-SHA256|Bearer|Basic)\s+)?)` + value)

	// short are values that follow a name which is a word as well: only what looks
	// like code counts.
	short = regexp.MustCompile(`(?i)(\b(?:ak|sk|token)(?:\s*(?:=|%3D)\s*` + quotes + `|["'\\]+\s*:\s*` + quotes + `))` + value)

	// userinfo is what stands before the host in a URL, and a name with a password
	// where there is no URL.
	userinfo = regexp.MustCompile(`(://)[^\s/@?#"'<>]+@|[^\s:/@"'<>()=,;&]+:[^\s@"'<>]+@`)

	// shapes are keys and tokens by their own shape, and any long run of digits
	// and letters such as a signature or a session token.
	shapes = regexp.MustCompile(`\b(?:LTAI|STS\.|TMP\.)[A-Za-z0-9_-]{6,}|[A-Za-z0-9+/=_%.]{40,}`)

	// hyphened are such runs with hyphens. Long host names are some too.
	hyphened = regexp.MustCompile(`[A-Za-z0-9+/=_%.-]{40,}`)
)

const (
	quotes = `(?:["'\\]|%22|%2522|&quot;|&#34;)*`
	value  = `(?:[^\s"'&<>,;\\]|\\[^\s"'\\])+`
)

// redact makes a text that came from outside fit to be shown: the secrets go,
// known by value or by shape, and so does what does not show or changes how the rest
// reads; what is left is cut to maxMessage characters.
func redact(text string, secrets ...string) string {
	if len(text) > maxRead {
		// Cut where a blank is, so that no part of a secret is left at the end.
		text = text[:strings.LastIndexByte(text[:maxRead], ' ')+1]
	}
	text = legible(text)
	for _, s := range secrets {
		if len(s) < 4 {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.QueryEscape(url.QueryEscape(s)), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, hidden)
		}
		text = cutJoined(text, legible(s))
	}
	text = echoes.ReplaceAllString(text, "${1}${2} "+hidden)
	text = named.ReplaceAllString(text, "${1}"+hidden)
	text = short.ReplaceAllString(text, "${1}"+hidden)
	text = userinfo.ReplaceAllString(text, "${1}"+hidden+"@")
	text = shapes.ReplaceAllString(text, hidden)
	text = hyphened.ReplaceAllStringFunc(text, func(run string) string {
		if strings.ToLower(run) == run || strings.ToUpper(run) == run || !strings.ContainsAny(run, "0123456789") {
			return run
		}
		return hidden
	})
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) > maxMessage {
		text = string([]rune(text)[:maxMessage-1]) + "…"
	}
	return text
}

// legible leaves of a text what shows: letters that only change the direction or the
// breaks of others go, control characters become blanks.
func legible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r):
			return -1
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, text)
}

// shortest is the length from which a secret is looked for across gaps: shorter ones
// would be found in prose.
const shortest = 8

// cutJoined takes out a secret that is broken by blanks, line ends, hyphens or
// backslashes, or escaped for JSON or a URL.
func cutJoined(text, secret string) string {
	wanted, _ := joined(secret)
	if len(wanted) < shortest {
		return text
	}
	bare, at := joined(text)
	var b strings.Builder
	from, searched := 0, 0
	for {
		i := strings.Index(bare[searched:], wanted)
		if i < 0 {
			b.WriteString(text[from:])
			return b.String()
		}
		first, end := searched+i, searched+i+len(wanted)
		b.WriteString(text[from:at[first].from] + hidden)
		from, searched = at[end-1].to, end
	}
}

// span is where a byte came from.
type span struct{ from, to int }

// joined is a text without what a secret can be broken by, and where each byte of it
// stood.
func joined(text string) (string, []span) {
	bare, at := make([]byte, 0, len(text)), make([]span, 0, len(text))
	for i := 0; i < len(text); {
		c, next := unescaped(text, i)
		if !strings.ContainsRune(" \t\r\n-\\", rune(c)) {
			bare, at = append(bare, c), append(at, span{i, next})
		}
		i = next
	}
	return string(bare), at
}

// unescaped reads a byte, or the byte that an escape of a URL or of JSON stands for.
func unescaped(text string, i int) (c byte, next int) {
	if digits, ok := strings.CutPrefix(text[i:], `\u00`); ok {
		if c, ok := hexByte(digits); ok {
			return c, i + 6
		}
	}
	c, next = text[i], i+1
	for c == '%' { // %252B is an escape of an escape
		decoded, ok := hexByte(text[next:])
		if !ok {
			break
		}
		c, next = decoded, next+2
	}
	return c, next
}

func hexByte(digits string) (byte, bool) {
	if len(digits) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits[:2], 16, 8)
	return byte(n), err == nil
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
