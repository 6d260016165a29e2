package ecssim

import (
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const maxBody = 1 << 20

// call is one API call on its way through the server.
type call struct {
	request *http.Request
	body    []byte
	query   url.Values
	form    url.Values
	// headers is set where the common parameters are x-acs-* headers.
	headers bool
	json    bool
	api     api
	key     Key
	log     *Call
	// inside runs in the middle of the action, where ECS would be busy.
	inside func()
}

// param returns a parameter, wherever the client has put it. The old SDK sends
// one in both places and signs it once.
func (c *call) param(name string) string {
	if v, ok := c.form[name]; ok {
		return v[0]
	}
	return c.query.Get(name)
}

// params returns the query and the form together.
func (c *call) params() url.Values {
	all := maps.Clone(c.query)
	maps.Copy(all, c.form)
	return all
}

// has tells whether the client has sent a parameter with a value.
func (c *call) has(name string) bool { return c.param(name) != "" }

// common returns a common parameter, which has a header of its own in V3.
func (c *call) common(name, header string) string {
	if c.headers {
		if v := c.request.Header.Get(header); v != "" {
			return v
		}
	}
	return c.param(name)
}

// read takes a request apart. The call is usable also when it is refused.
func (s *Server) read(r *http.Request) (*call, *apiError) {
	c := &call{request: r, log: &Call{
		Time: s.now(), Method: r.Method, RequestID: newRequestID(), Remote: r.RemoteAddr, UserAgent: r.UserAgent(),
	}}
	authorization := r.Header.Get("Authorization")
	var queryErr, bodyErr, formErr error
	c.query, queryErr = url.ParseQuery(r.URL.RawQuery)
	c.body, bodyErr = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isForm := mediaType == "application/x-www-form-urlencoded"
	if isForm {
		c.form, formErr = url.ParseQuery(string(c.body))
	}
	c.headers = authorization != "" || !c.has("Action") && r.Header.Get("x-acs-action") != ""
	c.json = strings.Contains(r.Header.Get("Accept"), "application/json") && c.headers
	c.log.Action = c.common("Action", "x-acs-action")
	c.log.Region = c.param("RegionId")
	c.log.GroupID = c.param("SecurityGroupId")
	c.log.Policy = c.param("InnerAccessPolicy")
	c.log.ClientToken = c.param("ClientToken")
	c.log.OwnerAccount = c.param("OwnerAccount")
	c.logSigner(authorization)
	c.log.Params = loggedParams(c.params())
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return c, refuse(400, "UnsupportedHTTPMethod", "This http method is not supported.")
	case queryErr != nil || formErr != nil:
		return c, refuse(400, "InvalidParameter", "The request has a parameter that is not percent-encoded.")
	case bodyErr != nil || len(c.body) > maxBody:
		return c, refuse(413, "InvalidParameter", "The request body is incomplete or too large.")
	case len(c.body) > 0 && !isForm:
		return c, refuse(415, "UnsupportedMediaType", "The request body is not a form.")
	}
	if refusal := c.unambiguous(); refusal != nil {
		return c, refusal
	}
	return c, c.chooseFormat()
}

func (c *call) logSigner(authorization string) {
	switch {
	case authorization != "":
		c.log.Signature = "V3"
		c.log.AccessKeyID = parseAuthorization(authorization).credential
	case c.has("AccessKeyId"):
		c.log.Signature = "V1"
		c.log.AccessKeyID = c.param("AccessKeyId")
	}
}

// unambiguous refuses a parameter that is given twice in one place, or differently in
// both. Signatures sort values, so that whoever is on the way could choose between them.
func (c *call) unambiguous() *apiError {
	for _, place := range []url.Values{c.query, c.form} {
		for name, values := range place {
			if len(values) > 1 || c.form.Has(name) && c.query.Has(name) && c.form.Get(name) != c.query.Get(name) {
				return refuse(400, "InvalidParameter", "The parameter %q is given more than once.", name)
			}
		}
	}
	return nil
}

// chooseFormat decides between JSON and XML; XML is the default of the protocol.
func (c *call) chooseFormat() *apiError {
	switch format := c.param("Format"); {
	case format == "":
	case strings.EqualFold(format, "JSON"):
		c.json = true
	case strings.EqualFold(format, "XML"):
		c.json = false
	default:
		return refuse(400, "InvalidParameter.Format", "The specified parameter Format is not valid.")
	}
	return nil
}

// resolve finds the API that the call names.
func (c *call) resolve() *apiError {
	if c.log.Action == "" {
		return missing("Action")
	}
	api, ok := apis[c.log.Action]
	if !ok || c.request.URL.Path != "/" && c.request.URL.Path != "" {
		return refuse(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
	}
	switch c.common("Version", "x-acs-version") {
	case "":
		return missing("Version")
	case api.version:
		c.api = api
		return nil
	}
	return refuse(400, "InvalidVersion", "Specified parameter Version is not valid.")
}

// ownField names the parameters that the log has fields for.
var ownField = []string{
	"RegionId", "SecurityGroupId", "InnerAccessPolicy", "ClientToken", "OwnerAccount",
}

// loggedParams leaves out whatever could be a secret, by name.
func loggedParams(all url.Values) map[string]string {
	var logged map[string]string
	for name, values := range all {
		lower := strings.ToLower(name)
		secret := strings.Contains(lower, "secret") || strings.Contains(lower, "password") ||
			strings.Contains(lower, "token") && name != "NextToken"
		if secret || slices.Contains(ownField, name) || slices.Contains(perRequest, name) {
			continue
		}
		if logged == nil {
			logged = map[string]string{}
		}
		logged[name] = values[0]
	}
	return logged
}
