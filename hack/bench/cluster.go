package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

const namespace = "bench"

// cluster is a kube-apiserver and etcd.
type cluster struct {
	env        *envtest.Environment
	client     client.WithWatch
	plain      *kubernetes.Clientset
	kubeconfig string
}

func startCluster(ctx context.Context, dir, root string) (*cluster, error) {
	c := &cluster{env: &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		// The API server waits for its watches to end before it does, which they
		// never do of themselves: after this it is killed.
		ControlPlaneStopTimeout: 2 * time.Second,
	}}
	// The API server inherits this: at its usual setting a fifth of its work is the
	// collection of a small heap, and all processes share the machine. With 100,000
	// resources the memory does not suffice for as much garbage.
	if err := errors.Join(os.Setenv("GOGC", "400"), os.Setenv("GOMEMLIMIT", "8GiB")); err != nil {
		return nil, err
	}
	config, err := c.env.Start()
	if err == nil {
		err = c.connect(ctx, config, dir)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// stop ends it. An API server that had to be killed is no failure.
func (c *cluster) stop() error {
	if err := c.env.Stop(); err != nil && !strings.Contains(err.Error(), "timeout waiting for process") {
		return err
	}
	return nil
}

func (c *cluster) connect(ctx context.Context, config *rest.Config, dir string) error {
	// The bench's own requests must not be what limits.
	config.QPS = -1
	scheme := runtime.NewScheme()
	err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err != nil {
		return err
	}
	if c.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if c.plain, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	c.kubeconfig = filepath.Join(dir, "kubeconfig")
	return errors.Join(c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}), c.admitManager(ctx))
}

// admitManager writes the manager's kubeconfig. It has a service account's token, as in
// any cluster, which the API server remembers: a client certificate's signature is
// verified at each request, at a sixteenth of the API server's time.
func (c *cluster) admitManager(ctx context.Context) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "manager"}}
	err := errors.Join(c.client.Create(ctx, account), c.client.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "manager"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account.Name}},
	}))
	if err != nil {
		return err
	}
	token := &authenticationv1.TokenRequest{}
	if err := c.client.SubResource("token").Create(ctx, account, token); err != nil {
		return err
	}
	config, err := clientcmd.Load(c.env.KubeConfig)
	if err != nil {
		return err
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	return clientcmd.WriteToFile(*config, c.kubeconfig)
}

// writes are the requests that the API server has carried out for the manager:
// nobody else writes status or events here.
type writes struct {
	Status, Events, Conflicts float64
}

func (w writes) minus(v writes) writes {
	return writes{w.Status - v.Status, w.Events - v.Events, w.Conflicts - v.Conflicts}
}

var requestTotal = regexp.MustCompile(`^apiserver_request_total\{(.*)\} (\S+)$`)

// countWrites asks the API server what it has been asked for.
func (c *cluster) countWrites(ctx context.Context) (w writes, err error) {
	body, err := c.plain.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return w, fmt.Errorf("read the API server's metrics: %w", err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		match := requestTotal.FindStringSubmatch(lines.Text())
		if match == nil || !writing.MatchString(match[1]) {
			continue
		}
		n, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return w, err
		}
		has := func(label string) bool { return strings.Contains(match[1], label) }
		switch {
		case has(`resource="securitygrouppolicies"`) && has(`code="409"`):
			w.Conflicts += n
		case has(`resource="securitygrouppolicies"`) && has(`subresource="status"`):
			w.Status += n
		case has(`resource="events"`):
			w.Events += n
		}
	}
	return w, lines.Err()
}

var writing = regexp.MustCompile(`verb="(POST|PUT|PATCH|APPLY)"`)

// board knows how each resource stands, from a watch.
type board struct {
	mu sync.Mutex
	// ready is the newest generation that a resource was Ready at, and readyAt when
	// that was seen.
	ready   []int64
	readyAt []time.Time
	// changes counts the changes that were seen of each resource.
	changes []int
	err     error
}

func (c *cluster) watch(ctx context.Context, n int) (*board, error) {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := c.client.List(ctx, list); err != nil {
		return nil, err
	}
	b := &board{ready: make([]int64, n), readyAt: make([]time.Time, n), changes: make([]int, n)}
	version := list.ResourceVersion
	go func() {
		for ctx.Err() == nil {
			w, err := c.client.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
			if err != nil {
				b.fail(err)
				return
			}
			for event := range w.ResultChan() {
				p, ok := event.Object.(*v1alpha1.SecurityGroupPolicy)
				if !ok {
					b.fail(fmt.Errorf("the watch says %v", event.Object))
					return
				}
				version = p.ResourceVersion
				b.note(event.Type, p)
			}
		}
	}()
	return b, nil
}

func (b *board) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *board) note(kind watch.EventType, p *v1alpha1.SecurityGroupPolicy) {
	i, err := strconv.Atoi(strings.TrimPrefix(p.Name, "r-"))
	if err != nil || i >= len(b.ready) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if kind == watch.Modified {
		b.changes[i]++
	}
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Status == metav1.ConditionTrue && p.Status.ObservedGeneration == p.Generation && ready.ObservedGeneration == p.Generation && b.ready[i] < p.Generation {
		b.ready[i], b.readyAt[i] = p.Generation, time.Now()
	}
}

// behind tells how many resources are not Ready at the generation that is wanted.
func (b *board) behind(want []int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for i, generation := range want {
		if b.ready[i] < generation {
			n++
		}
	}
	return n, b.err
}

func resource(i int, policy string) *v1alpha1.SecurityGroupPolicy {
	return &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("r-%06d", i)},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: groupName(i), InnerAccessPolicy: policy},
	}
}

// edit changes what a resource asks for, and returns its new generation.
func (c *cluster) edit(ctx context.Context, i int, policy string) (int64, error) {
	p := resource(i, policy)
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"innerAccessPolicy":"`+policy+`"}}`))
	err := c.client.Patch(ctx, p, patch)
	return p.Generation, err
}
