package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cluster is what the cluster consists of, as far as a security group can cut it.
type cluster struct {
	// instances are the ids of its nodes by region. A region without any is that of nodes
	// that are no instances, such as a virtual kubelet's.
	instances map[string][]string
	// addresses are those of its API server.
	addresses map[netip.Addr]bool
	// groups are those that its network configuration names, and where.
	groups map[string]string
}

// onAlibabaCloud tells whether any node runs there.
func (c *cluster) onAlibabaCloud() bool { return len(c.instances) > 0 }

// unreadError says that something of the cluster may not be read.
type unreadError struct{ what string }

func (e *unreadError) Error() string { return "the manager may not " + e.what }

// providerID is that of a node on an ECS instance.
var providerID = regexp.MustCompile(`^(?:alicloud://)?([a-z]{2,3}(?:-[a-z0-9]+)+)\.(i-[A-Za-z0-9]+)$`)

// nodesPage is how many nodes are read in one request.
const nodesPage = 500

// readCluster reads the cluster from the API server itself.
func readCluster(ctx context.Context, api client.Reader, absent *absence) (*cluster, error) {
	c := &cluster{instances: map[string][]string{}, addresses: map[netip.Addr]bool{}, groups: map[string]string{}}
	configs := map[string]bool{"eni-config": true}
	if err := c.readNodes(ctx, api, configs); err != nil {
		return nil, err
	}
	if !c.onAlibabaCloud() {
		return c, nil
	}
	if err := c.readAddresses(ctx, api); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		if err := c.readTerway(ctx, api, name); err != nil {
			return nil, err
		}
	}
	return c, errors.Join(
		c.readNetworking(ctx, api, absent, "PodNetworking", "podnetworkings", "spec", "securityGroupIDs"),
		c.readNetworking(ctx, api, absent, "Node", "nodes", "spec", "eniSpec", "securityGroupIDs"),
	)
}

func (c *cluster) readNodes(ctx context.Context, api client.Reader, configs map[string]bool) error {
	for token := ""; ; {
		nodes := &corev1.NodeList{}
		if err := api.List(ctx, nodes, client.Limit(nodesPage), client.Continue(token)); err != nil {
			return unread(err, "list nodes")
		}
		for i := range nodes.Items {
			n := &nodes.Items[i]
			if name := n.Labels["terway-config"]; name != "" {
				configs[name] = true
			}
			switch found := providerID.FindStringSubmatch(n.Spec.ProviderID); {
			case found != nil:
				c.instances[found[1]] = append(c.instances[found[1]], found[2])
			case n.Labels["type"] == "virtual-kubelet", n.Labels["alibabacloud.com/lingjun-worker"] == "true":
				region := n.Labels[corev1.LabelTopologyRegion]
				if _, known := c.instances[region]; region != "" && !known {
					c.instances[region] = nil
				}
			}
		}
		if token = nodes.Continue; token == "" {
			return nil
		}
	}
}

// readAddresses finds where the API server is. In ACK its interfaces are in the cluster's
// group, and have no instance.
func (c *cluster) readAddresses(ctx context.Context, api client.Reader) error {
	slice := &discoveryv1.EndpointSlice{}
	switch err := api.Get(ctx, types.NamespacedName{Namespace: "default", Name: "kubernetes"}, slice); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return unread(err, "get the EndpointSlice default/kubernetes")
	}
	for _, e := range slice.Endpoints {
		for _, text := range e.Addresses {
			if address, err := netip.ParseAddr(text); err == nil {
				c.addresses[address] = true
			}
		}
	}
	return nil
}

// readTerway finds the groups that a configuration of Terway names.
func (c *cluster) readTerway(ctx context.Context, api client.Reader, name string) error {
	config := &corev1.ConfigMap{}
	switch err := api.Get(ctx, types.NamespacedName{Namespace: "kube-system", Name: name}, config); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return unread(err, "get the ConfigMap kube-system/"+name)
	}
	var content struct {
		One  string   `json:"security_group"`
		Many []string `json:"security_groups"`
	}
	text := config.Data["eni_conf"]
	if text == "" {
		return nil
	}
	where := "the ConfigMap kube-system/" + name
	if json.Unmarshal([]byte(text), &content) != nil {
		// It is read by hand then: an id is an id.
		for _, id := range groupForm.FindAllString(text, -1) {
			c.groups[id] = where
		}
		return nil
	}
	for _, id := range append(content.Many, content.One) {
		if id != "" {
			c.groups[id] = where
		}
	}
	return nil
}

// groupForm finds ids in a text.
var groupForm = regexp.MustCompile(`\bsg-[A-Za-z0-9_-]{1,97}`)

// absence remembers for a while which kinds the cluster does not have: to ask for one has
// the client discover all kinds anew.
type absence struct {
	now   func() time.Time
	until map[string]time.Time
}

const absentFor = 10 * time.Minute

func (a *absence) note(kind string) { a.until[kind] = a.now().Add(absentFor) }

func (a *absence) holds(kind string) bool { return a.now().Before(a.until[kind]) }

// readNetworking finds the groups that objects of Terway name, if the cluster has such.
func (c *cluster) readNetworking(ctx context.Context, api client.Reader, absent *absence, kind, resource string, path ...string) error {
	if absent.holds(kind) {
		return nil
	}
	for token := ""; ; {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "network.alibabacloud.com", Version: "v1beta1", Kind: kind + "List"})
		switch err := api.List(ctx, list, client.Limit(nodesPage), client.Continue(token)); {
		case apimeta.IsNoMatchError(err), apierrors.IsNotFound(err):
			absent.note(kind)
			return nil
		case err != nil:
			return unread(err, "list "+resource+".network.alibabacloud.com")
		}
		for _, o := range list.Items {
			ids, _, _ := unstructured.NestedStringSlice(o.Object, path...)
			for _, id := range ids {
				c.groups[id] = "the " + kind + " " + o.GetName() + " of Terway"
			}
		}
		if token = list.GetContinue(); token == "" {
			return nil
		}
	}
}

// unread tells what is not allowed from what failed.
func unread(err error, what string) error {
	if apierrors.IsForbidden(err) {
		return &unreadError{what}
	}
	return fmt.Errorf("%s: %w", what, err)
}
