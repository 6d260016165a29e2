// Package guard keeps a change to Drop from cutting off the very cluster that the operator
// runs in. Before such a change it looks for what is of the cluster in the group: the
// instances of its nodes, the interfaces of its API server, the groups that its network
// configuration names, and the marks that ACK leaves. At rest it makes no call. A cluster
// that does not run on Alibaba Cloud is in no group, and nothing is asked.
package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/members"
)

const (
	// namePrefix and descriptionPrefix are those of the groups that ACK makes.
	namePrefix        = "alicloud-cs-auto-created-security-group-"
	descriptionPrefix = "security group of ACS Cluster "
	// controlPlane begins the names of the interfaces of ACK's API servers.
	controlPlane = "k8s-eni-"

	// accountFor is for how long it is known whether the nodes are an account's, and
	// which groups are tagged.
	accountFor = time.Hour
	// perRead is for how much longer than it took to read it what is known of the cluster
	// counts: a node may have joined since. So reading takes a tenth of the time at most,
	// however many nodes there are and however many changes come at once.
	perRead = 10
	// mostNamed is how many members a message names.
	mostNamed = 5
)

// Guard answers for one cluster. It is safe for concurrent use.
type Guard struct {
	// API reads from the API server itself.
	API client.Reader
	// Cloud gives the client of the account that a resource uses.
	Cloud func(context.Context, *v1alpha1.SecurityGroupPolicy) (members.Cloud, error)
	// Store keeps what is read of the cloud.
	Store *members.Store
	// Now is the clock.
	Now func() time.Time

	mu      sync.Mutex
	cluster *cluster
	until   time.Time
	absent  *absence
}

// Finding is what was found in a group.
type Finding struct {
	// Held says in words for a user why a change to Drop must not be made without an
	// approval; empty if it may be.
	Held string
	// Members are those of the group, if they were read.
	Members *v1alpha1.Members
}

// Check answers for a group that was just observed. A wait other than zero says that
// nothing is known yet, and when to come back.
func (g *Guard) Check(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, o ecs.Observation) (Finding, time.Duration, error) {
	c, err := g.read(ctx)
	if unread, ok := errors.AsType[*unreadError](err); ok {
		return held("it cannot be told whether it would cut this cluster off: " + unread.Error()), 0, nil
	}
	if err != nil || !c.onAlibabaCloud() {
		return Finding{}, 0, err
	}
	id, region := p.Spec.SecurityGroupID, p.Spec.RegionID
	marks := g.marks(c, id, o)
	if _, ours := c.instances[region]; !ours {
		return held(marks...), 0, nil
	}
	if p.Spec.OwnerAccount != "" {
		return held(append(marks, "it cannot be told whether it would cut this cluster off: "+members.OfAnotherAccount)...), 0, nil
	}
	cloud, err := g.Cloud(ctx, p)
	if err != nil {
		return Finding{}, 0, err
	}
	checked, wait, err := g.inspect(ctx, cloud, c, p, o, marks)
	if e, ok := errors.AsType[*ecs.Error](err); ok && e.Class == ecs.Denied {
		return held(append(marks, "it cannot be told whether it would cut this cluster off: the account may not call ecs:"+e.Action)...), 0, nil
	}
	return checked, wait, err
}

// held is a change that must not be made for some reasons, or may be if there are none.
func held(reasons ...string) (checked Finding) {
	checked.Held = strings.Join(reasons, "; ")
	return checked
}

// read is the cluster as it is, or was a moment ago.
func (g *Guard) read(ctx context.Context) (*cluster, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	began := g.Now()
	if g.cluster != nil && began.Before(g.until) {
		return g.cluster, nil
	}
	if g.absent == nil {
		g.absent = &absence{g.Now, map[string]time.Time{}}
	}
	c, err := readCluster(ctx, g.API, g.absent)
	if err != nil {
		return nil, err
	}
	g.cluster, g.until = c, began.Add(perRead*g.Now().Sub(began))
	return c, nil
}

// marks are what tells without a call that a group is a cluster's.
func (g *Guard) marks(c *cluster, id string, o ecs.Observation) (marks []string) {
	if where := c.groups[id]; where != "" {
		marks = append(marks, "it is a group of this cluster's pods, as "+where+" says")
	}
	if strings.HasPrefix(o.Name, namePrefix) || strings.HasPrefix(o.Description, descriptionPrefix) {
		marks = append(marks, "its name or description is that of a group which ACK made for a cluster")
	}
	return marks
}

// inspect reads what the group protects, if the nodes of the cluster are the account's at all.
func (g *Guard) inspect(ctx context.Context, cloud members.Cloud, c *cluster, p *v1alpha1.SecurityGroupPolicy, o ecs.Observation, marks []string) (checked Finding, _ time.Duration, _ error) {
	id, region := p.Spec.SecurityGroupID, p.Spec.RegionID
	own, wait, err := g.Store.Instances(ctx, cloud, region, c.instances[region], accountFor)
	if err != nil || wait > 0 {
		return checked, wait, err
	}
	if len(own) == 0 && len(c.instances[region]) > 0 {
		return held(marks...), 0, nil // the nodes are another account's
	}
	found, wait, err := g.Store.OfGroup(ctx, cloud, ecs.Group{RegionID: region, SecurityGroupID: id}, o.VpcID)
	if err != nil || wait > 0 {
		return checked, wait, err
	}
	tagged, wait, err := g.Store.Tagged(ctx, cloud, region, ecs.ClusterTag, accountFor)
	if err != nil || wait > 0 {
		return checked, wait, err
	}
	if tagged[id] {
		marks = append(marks, "it bears the tag "+ecs.ClusterTag+" of an ACK cluster")
	}
	checked = held(append(marks, c.cuts(region, o.VpcID, own, found)...)...)
	interfaces, instances := found.Count()
	checked.Members = &v1alpha1.Members{Interfaces: int32(interfaces), Instances: int32(instances)} //nolint:gosec // a group holds 65,536 at most
	return checked, 0, nil
}

// part is what a member of a group is to a cluster.
type part int

const (
	ofNobody part = iota
	ofThisCluster
	ofAPIServer
	ofAnotherCluster
)

// parts are how messages speak of them.
var parts = []struct {
	part      part
	one, many string
}{
	{ofThisCluster, "node of this cluster is in it", "nodes of this cluster are in it"},
	{ofAPIServer, "interface of an API server is in it", "interfaces of an API server are in it"},
	{ofAnotherCluster, "instance or interface with the tag " + ecs.ClusterTag + " of an ACK cluster is in it",
		"instances or interfaces with the tag " + ecs.ClusterTag + " of an ACK cluster are in it"},
}

// cuts tells what of this cluster, or of another, is in a group.
func (c *cluster) cuts(region, vpcID string, own []ecs.Instance, found members.Found) (reasons []string) {
	isNode := map[string]bool{}
	for _, id := range c.instances[region] {
		isNode[id] = true
	}
	// An address is one of the API server's only in a VPC of the cluster.
	inOurVPC := len(own) == 0 || slices.ContainsFunc(own, func(i ecs.Instance) bool { return i.VpcID == vpcID })
	ids := map[part]map[string]bool{ofNobody: {}, ofThisCluster: {}, ofAPIServer: {}, ofAnotherCluster: {}}
	for _, i := range found.Instances {
		switch {
		case isNode[i.ID]:
			ids[ofThisCluster][i.ID] = true
		case i.ACKCluster != "":
			ids[ofAnotherCluster][i.ID] = true
		}
	}
	for _, i := range found.Interfaces {
		switch {
		case isNode[i.InstanceID]:
			ids[ofThisCluster][i.InstanceID] = true
		case c.isControlPlane(i, inOurVPC):
			ids[ofAPIServer][i.ID] = true
		case i.ACKCluster != "":
			ids[ofAnotherCluster][i.ID] = true
		}
	}
	for _, p := range parts {
		switch n := len(ids[p.part]); n {
		case 0:
		case 1:
			reasons = append(reasons, fmt.Sprintf("1 %s (%s)", p.one, named(ids[p.part])))
		default:
			reasons = append(reasons, fmt.Sprintf("%d %s (%s)", n, p.many, named(ids[p.part])))
		}
	}
	return reasons
}

// isControlPlane tells whether an interface is an API server's: by its address, if that can
// be this cluster's, or by the name that ACK gives such interfaces.
func (c *cluster) isControlPlane(i ecs.Interface, inOurVPC bool) bool {
	if strings.HasPrefix(i.Name, controlPlane) && i.InstanceID == "" {
		return true
	}
	return inOurVPC && slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.IsSingleIP() && c.addresses[p.Addr()] })
}

// named names some of a set, always the same ones.
func named(ids map[string]bool) string {
	all := slices.Sorted(maps.Keys(ids))
	if len(all) > mostNamed {
		return strings.Join(all[:mostNamed], ", ") + " and others"
	}
	return strings.Join(all, ", ")
}
