package ecs

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// regions are those of ECS: the list beside the API at api.aliyun.com/api/Ecs/2014-05-26,
// and those that the endpoint maps of Alibaba Cloud's SDKs add, for finance and
// government. A region becomes part of a host name, and names such as oss-cn-hangzhou
// lead to another product's: so it is one of these, or one that an administrator adds.
var regions = map[string]bool{
	"ap-northeast-1": true, "ap-northeast-2": true, "ap-northeast-2-pop": true, "ap-south-1": true,
	"ap-southeast-1": true, "ap-southeast-2": true, "ap-southeast-3": true, "ap-southeast-5": true,
	"ap-southeast-6": true, "ap-southeast-7": true,
	"cn-beijing": true, "cn-beijing-finance-1": true, "cn-beijing-finance-pop": true, "cn-beijing-gov-1": true,
	"cn-chengdu": true, "cn-fuzhou": true, "cn-guangzhou": true, "cn-hangzhou": true, "cn-hangzhou-finance": true,
	"cn-heyuan": true, "cn-heyuan-acdr-1": true, "cn-hongkong": true, "cn-hongkong-finance-pop": true,
	"cn-huhehaote": true, "cn-nanjing": true, "cn-north-2-gov-1": true, "cn-qingdao": true, "cn-shanghai": true,
	"cn-shanghai-finance-1": true, "cn-shenzhen": true, "cn-shenzhen-finance-1": true, "cn-wuhan-lr": true,
	"cn-wulanchabu": true, "cn-wulanchabu-gic-1": true, "cn-zhangjiakou": true, "cn-zhengzhou-jva": true,
	"cn-zhongwei":  true,
	"eu-central-1": true, "eu-west-1": true, "eu-west-2": true,
	"me-central-1": true, "me-east-1": true,
	"na-south-1":     true,
	"rus-west-1-pop": true,
	"us-east-1":      true, "us-southeast-1": true, "us-west-1": true,
}

// KnownRegions returns those that may be called without an administrator's word, sorted.
func KnownRegions() []string { return slices.Sorted(maps.Keys(regions)) }

// areas are what a region id begins with: those of the list above, and those that are
// likely to come. No product of Alibaba Cloud begins its host names with one, so that
// what a pattern lets in is never the host of another product.
var areas = []string{"af-", "ap-", "cn-", "eu-", "me-", "na-", "rus-", "sa-", "us-"}

var (
	regionForm  = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]+){1,4}$`)
	patternForm = regexp.MustCompile(`^[a-z0-9*]+(-[a-z0-9*]+)*$`)
)

// Regions are those that may be called: the known ones, and what the patterns of an
// administrator add. The zero value is the known ones alone.
type Regions struct{ extra []string }

// ParseRegions reads patterns of further regions, in which * stands for any characters.
func ParseRegions(patterns []string) (Regions, error) {
	for _, pattern := range patterns {
		if len(pattern) > 64 || !patternForm.MatchString(pattern) {
			return Regions{}, fmt.Errorf("%q is not a pattern of region ids: use lower-case letters, digits and hyphens as in cn-hangzhou, and * for any characters", pattern)
		}
		fixed, _, _ := strings.Cut(pattern, "*")
		if !slices.ContainsFunc(areas, func(area string) bool {
			return strings.HasPrefix(fixed, area) || fixed != pattern && strings.HasPrefix(area, fixed)
		}) {
			return Regions{}, fmt.Errorf("%q must begin with an area of Alibaba Cloud such as cn-: one of %s", pattern, strings.Join(areas, ", "))
		}
	}
	return Regions{extra: patterns}, nil
}

// Known tells whether a region may be called.
func (r Regions) Known(region string) bool {
	if regions[region] {
		return true
	}
	return regionForm.MatchString(region) &&
		slices.ContainsFunc(areas, func(area string) bool { return strings.HasPrefix(region, area) }) &&
		slices.ContainsFunc(r.extra, func(pattern string) bool {
			matched, err := path.Match(pattern, region) // of its special characters a pattern holds * alone
			return matched && err == nil
		})
}
