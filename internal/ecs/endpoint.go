package ecs

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// Endpoint is where the calls of a product go: the template of a URL that may
// hold {region}, or the zero value for the public endpoints of Alibaba Cloud.
type Endpoint struct {
	scheme, host string
}

const regionMark = "{region}"

// elsewhere are the regions of ECS whose host does not follow the pattern,
// after the endpoint map of Alibaba Cloud's SDKs.
var elsewhere = map[string]string{
	"cn-shanghai-finance-1":   "ecs-cn-hangzhou.aliyuncs.com",
	"cn-shenzhen-finance-1":   "ecs-cn-hangzhou.aliyuncs.com",
	"cn-hangzhou-finance":     "ecs.aliyuncs.com",
	"cn-beijing-finance-pop":  "ecs.aliyuncs.com",
	"cn-hongkong-finance-pop": "ecs.aliyuncs.com",
	"cn-beijing-gov-1":        "ecs.aliyuncs.com",
	"cn-north-2-gov-1":        "ecs.aliyuncs.com",
	"rus-west-1-pop":          "ecs.aliyuncs.com",
	"ap-northeast-2-pop":      "ecs.aliyuncs.com",
}

// ParseEndpoint reads an endpoint such as https://ecs-vpc.{region}.aliyuncs.com. What
// follows {region} must be a domain of its own, so that whoever names a region does not
// choose whose host it is. Plain http is accepted for a loopback address, and elsewhere
// only if allowInsecure says so, because it shows every request to the network.
func ParseEndpoint(text string, allowInsecure bool) (Endpoint, error) {
	if text == "" {
		return Endpoint{}, nil
	}
	u, err := url.Parse(strings.ReplaceAll(text, regionMark, "region"))
	if err != nil {
		return Endpoint{}, errors.New("the endpoint is not a URL such as https://ecs.{region}.aliyuncs.com")
	}
	switch {
	case u.User != nil:
		return Endpoint{}, fmt.Errorf("endpoint %q must be a scheme and a host only: credentials do not belong there", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "https":
		return Endpoint{}, fmt.Errorf("endpoint %q must begin with https:// (or http:// for a loopback address)", text)
	case strings.TrimSuffix(u.RequestURI(), "/") != "" || u.Fragment != "":
		return Endpoint{}, fmt.Errorf("endpoint %q must be a scheme and a host only, such as https://ecs.{region}.aliyuncs.com", text)
	case !hostForm.MatchString(u.Host):
		return Endpoint{}, fmt.Errorf("endpoint %q has no valid host name", text)
	case !ownDomain(text):
		return Endpoint{}, fmt.Errorf("endpoint %q needs a fixed domain after {region}, such as https://ecs.{region}.aliyuncs.com", text)
	case u.Scheme == "http" && !loopback(u.Hostname()) && !allowInsecure:
		return Endpoint{}, fmt.Errorf("endpoint %q is not encrypted: use https://, or start the manager with --allow-insecure-endpoints", text)
	}
	_, rest, _ := strings.Cut(text, "://")
	return Endpoint{scheme: u.Scheme, host: strings.TrimSuffix(rest, "/")}, nil
}

var hostForm = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$`)

// afterRegion is the rest of the label that holds {region}, and a domain.
var afterRegion = regexp.MustCompile(`^[A-Za-z0-9-]*(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?){2,}(:[0-9]{1,5})?/?$`)

// ownDomain tells whether an endpoint names its domain whatever the region is.
func ownDomain(text string) bool {
	last := strings.LastIndex(text, regionMark)
	return last < 0 || afterRegion.MatchString(text[last+len(regionMark):])
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// resolve gives scheme and host for a product (ecs or sts) in a region.
func (e Endpoint) resolve(product, region string) (scheme, host string, err error) {
	if !regionForm.MatchString(region) {
		return "", "", fmt.Errorf("region %q is not the id of a region", region)
	}
	if e.host != "" {
		return e.scheme, strings.ReplaceAll(e.host, regionMark, region), nil
	}
	if host, ok := elsewhere[region]; ok && product == "ecs" {
		return "https", host, nil
	}
	return "https", product + "." + region + ".aliyuncs.com", nil
}

// String is the template, or empty for the public endpoints.
func (e Endpoint) String() string {
	if e.host == "" {
		return ""
	}
	return e.scheme + "://" + e.host
}
