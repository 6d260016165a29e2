package ecssim

import (
	"crypto/rand"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTags      = 20
	maxTagText   = 128
	maxTagTarget = 50
)

func (s *Server) createSecurityGroup(c *call) (object, *apiError) {
	tags, refusal := c.tags()
	switch {
	case c.log.Region == "":
		return nil, missingRegion()
	case refusal != nil:
		return nil, refusal
	case c.has("SecurityGroupName") && !validName(c.param("SecurityGroupName")):
		return nil, malformedGroupName()
	case c.has("Description") && !validText(c.param("Description"), 256):
		return nil, refuse(400, "InvalidDescription.Malformed", "The specified parameter Description is not valid.")
	case !slices.Contains(groupTypes, c.param("SecurityGroupType")):
		return nil, invalidGroupType()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.regions[c.log.Region] {
		return nil, unknownRegion()
	}
	claim, first, refusal := s.tokens.begin(s.now(), c)
	if refusal != nil {
		return nil, refusal
	}
	if first != nil {
		c.log.RequestID = first.requestID
		return first.answer, nil
	}
	id := "sg-" + strings.ToLower(rand.Text()[:20])
	s.groups.put(Group{
		Region: c.log.Region, ID: id, Policy: Accept, Account: c.key.Account, Name: c.param("SecurityGroupName"),
		Description: c.param("Description"), VpcID: c.param("VpcId"), Enterprise: c.param("SecurityGroupType") == "enterprise", Tags: tags,
	})
	answer := object{{"SecurityGroupId", id}}
	s.tokens.keep(claim, answer)
	return answer, nil
}

func (s *Server) deleteSecurityGroup(c *call) (object, *apiError) {
	switch {
	case c.log.Region == "":
		return nil, missingRegion()
	case !groupID.MatchString(c.log.GroupID):
		return nil, malformedGroupID()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	group, refusal := s.findGroup(c)
	switch {
	case refusal != nil:
		return nil, refusal
	case group.Managed:
		return nil, managedGroup(group.ID)
	}
	s.groups.remove(group.Region, group.ID)
	return nil, nil
}

func (s *Server) tagResources(c *call) (object, *apiError) {
	tags, refusal := c.tags()
	if refusal == nil && len(tags) == 0 {
		refusal = missing("Tag.1.Key")
	}
	if refusal != nil {
		return nil, refusal
	}
	return nil, s.retag(c, func(g *groupState) (map[string]string, *apiError) {
		after := maps.Clone(g.Tags)
		if after == nil {
			after = map[string]string{}
		}
		maps.Copy(after, tags)
		if len(after) > maxTags {
			return nil, refuse(403, "OperationDenied.QuotaExceed", "The resource %s would have more than %d tags.", g.ID, maxTags)
		}
		return after, nil
	})
}

func (s *Server) untagResources(c *call) (object, *apiError) {
	keys, refusal := c.list("TagKey", maxTags, "NumberExceed.Tags")
	all := strings.EqualFold(c.param("All"), "true")
	if refusal == nil && len(keys) == 0 && !all {
		refusal = missing("TagKey.1")
	}
	if refusal != nil {
		return nil, refusal
	}
	return nil, s.retag(c, func(g *groupState) (map[string]string, *apiError) {
		if len(keys) == 0 {
			return nil, nil
		}
		after := maps.Clone(g.Tags)
		for _, key := range keys {
			delete(after, key)
		}
		return after, nil
	})
}

// retag changes the tags of every group that a call names, or of none.
func (s *Server) retag(c *call, change func(*groupState) (map[string]string, *apiError)) *apiError {
	ids, refusal := c.list("ResourceId", maxTagTarget, "NumberExceed.ResourceIds")
	switch {
	case c.log.Region == "":
		return missingRegion()
	case c.param("ResourceType") == "":
		return missing("ResourceType")
	case c.param("ResourceType") != "securitygroup":
		return refuse(404, "InvalidResourceType.NotFound", "The specified ResourceType is not found.")
	case refusal != nil:
		return refusal
	case len(ids) == 0:
		return missing("ResourceId.1")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.regions[c.log.Region] {
		return unknownRegion()
	}
	changed := map[*groupState]map[string]string{}
	for _, id := range ids {
		group := s.groups.byKey[groupKey{c.log.Region, id}]
		if group == nil || group.Account != c.key.Account {
			return refuse(404, "InvalidResourceId.NotFound", "The specified ResourceIds are not found in our records.")
		}
		tags, refusal := change(group)
		if refusal != nil {
			return refusal
		}
		changed[group] = tags
	}
	for group, tags := range changed {
		group.Tags = tags
	}
	return nil
}

// list reads the parameters NAME.1, NAME.2 and so on, in order.
func (c *call) list(name string, most int, tooMany string) (values []string, _ *apiError) {
	for n := 1; c.has(name + "." + strconv.Itoa(n)); n++ {
		if n > most {
			return nil, refuse(400, tooMany, "The parameter %s has more than %d values.", name, most)
		}
		values = append(values, c.param(name+"."+strconv.Itoa(n)))
	}
	return values, nil
}

// tags reads the parameters Tag.1.Key, Tag.1.Value and so on.
func (c *call) tags() (map[string]string, *apiError) {
	tags := map[string]string{}
	for n := 1; ; n++ {
		prefix := "Tag." + strconv.Itoa(n) + "."
		key, value := c.param(prefix+"Key"), c.param(prefix+"Value")
		_, twice := tags[key]
		switch {
		case key == "" && value == "":
			return tags, nil
		case n > maxTags:
			return nil, refuse(400, "NumberExceed.Tags", "There are more than %d tags.", maxTags)
		case twice:
			return nil, refuse(400, "Duplicate.TagKey", "The tag key %q is given more than once.", key)
		case key == "" || !validTag(key) || strings.HasPrefix(key, "aliyun") || strings.HasPrefix(key, "acs:"):
			return nil, refuse(400, "InvalidTagKey.Malformed", "The specified Tag.n.Key is not valid.")
		case !validTag(value):
			return nil, refuse(400, "InvalidTagValue.Malformed", "The specified Tag.n.Value is not valid.")
		}
		tags[key] = value
	}
}

func validTag(text string) bool {
	return utf8.RuneCountInString(text) <= maxTagText && !strings.Contains(text, "http://") && !strings.Contains(text, "https://")
}

func malformedGroupName() *apiError {
	return refuse(400, "InvalidSecurityGroupName.Malformed", "The specified parameter SecurityGroupName is not valid.")
}

var nameForm = regexp.MustCompile(`^[\p{L}\p{N}:_.\- ]+$`)

// validName tells whether a group may be called so: 2 to 128 characters, the first a
// letter, then letters, digits and a few signs.
func validName(name string) bool {
	first, _ := utf8.DecodeRuneInString(name)
	return validText(name, 128) && unicode.IsLetter(first) && nameForm.MatchString(name)
}

func validText(text string, most int) bool {
	n := utf8.RuneCountInString(text)
	return n >= 2 && n <= most && !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://")
}
