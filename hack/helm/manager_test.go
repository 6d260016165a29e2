package helm

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// environment is what the kubelet would give the container.
func (c *cluster) environment(of corev1.Container) (env []string) {
	c.t.Helper()
	for _, e := range of.Env {
		switch {
		case e.ValueFrom == nil:
			env = append(env, e.Name+"="+e.Value)
		case e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "metadata.namespace":
			env = append(env, e.Name+"="+namespace)
		default:
			c.t.Errorf("%s has a source that this test does not know", e.Name)
		}
	}
	for _, from := range of.EnvFrom {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: from.SecretRef.Name}}
		if err := c.get(secret); err != nil {
			c.t.Fatal(err)
		}
		for key, value := range secret.Data {
			env = append(env, key+"="+string(value))
		}
	}
	return env
}

// as is the kubeconfig of a service account, with a token as its pods have it.
func (c *cluster) as(account string) (file string) {
	c.t.Helper()
	who, token := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}, &authenticationv1.TokenRequest{}
	if err := c.api.SubResource("token").Create(c.t.Context(), who, token); err != nil {
		c.t.Fatal(err)
	}
	config, err := clientcmd.Load(c.env.KubeConfig)
	if err != nil {
		c.t.Fatal(err)
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	file = filepath.Join(c.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func TestAManagerRunsAsTheChartSays(t *testing.T) {
	c := startCluster(t)
	if err := c.api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "keys"}}); err != nil {
		t.Fatal(err)
	}
	// What does not matter to the process is taken by the API server, which knows every field.
	const managers = "shards: [{name: a}], manager: {extraRegions: [cn-elsewhere-1], resyncInterval: 5m, secretNamespaces: [keys]}," +
		"networkPolicy: {enabled: true}, aggregateRoles: true, imagePullSecrets: [{name: registry}]," +
		"nodeSelector: {kubernetes.io/os: linux}, tolerations: [{operator: Exists}], priorityClassName: system-cluster-critical," +
		"affinity: {nodeAffinity: {}}, podLabels: {team: platform}, podAnnotations: {note: seen}"
	if err := c.install(chartDir, "{"+managers+"}"); err != nil {
		t.Fatal(err)
	}
	if err := c.upgrade(chartDir, "{"+managers+", accounts: [{name: default, spec: "+
		"{allowedNamespaces: {all: true}, credentials: {secretRef: {name: ours, namespace: keys}}}}]}"); err != nil {
		t.Fatal(err)
	}
	const key, secret = "LTAIinstalledkey000001", "installedsecret0123456789abcdef"
	for _, s := range []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sgp-credentials"},
			StringData: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIunused00000000001", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "unused"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "keys", Name: "ours"}, StringData: map[string]string{"accessKeyId": key, "accessKeySecret": secret}},
	} {
		if err := c.api.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	endpoint, stop, err := ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: key, Secret: secret}},
		Groups: []ecssim.Group{{Region: "cn-elsewhere-1", ID: "sg-1", Policy: "Accept"}, {Region: "cn-hangzhou", ID: "sg-1", Policy: "Accept"}}}).Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	r, err := rig.New(t.Context(), "sgp-helm")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	binary := filepath.Join(r.Dir, "manager")
	if err := rig.Build(t.Context(), root, binary, nil); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"sgp-manager", "sgp-manager-a"} {
		c.run(r, binary, d, endpoint)
	}
	c.inSync("of-the-first", "cn-hangzhou", nil)
	c.inSync("of-a", "cn-elsewhere-1", map[string]string{"ecs.alibabacloud.com/shard": "a"})
}

// run starts the manager of a Deployment as its pod would.
func (c *cluster) run(r *rig.Rig, binary, deployment, endpoint string) {
	c.t.Helper()
	d := c.deployment(deployment)
	pod := d.Spec.Template.Spec
	env := c.environment(pod.Containers[0])
	args := []string{}
	for _, arg := range pod.Containers[0].Args {
		args = append(args, regexp.MustCompile(`\$\(\w+\)`).ReplaceAllStringFunc(arg, func(variable string) string {
			for _, e := range env {
				if value, is := strings.CutPrefix(e, variable[2:len(variable)-1]+"="); is {
					return value
				}
			}
			return variable
		}))
	}
	// Of a flag that is there twice, the last one counts.
	args = append(args, "--kubeconfig", c.as(pod.ServiceAccountName), "--ecs-endpoint", endpoint, "--sts-endpoint", endpoint,
		"--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0")
	process, err := r.Start(c.t.Context(), rig.Program{Name: deployment, Path: binary, Args: args, Env: env})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := process.Ended(); err != nil && c.t.Failed() {
			c.t.Log(process.Failed(err))
		}
	})
}

func (c *cluster) inSync(name, region string, labels map[string]string) {
	c.t.Helper()
	p := &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: labels},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: "sg-1", InnerAccessPolicy: "drop"},
	}
	if err := c.api.Create(c.t.Context(), p); err != nil {
		c.t.Fatal(err)
	}
	c.eventually(name+" is kept", func() error {
		if err := c.get(p); err != nil {
			return err
		}
		if ready := apimeta.FindStatusCondition(p.Status.Conditions, "Ready"); ready == nil || ready.Status != metav1.ConditionTrue {
			return fmt.Errorf("conditions %+v", p.Status.Conditions)
		}
		return nil
	})
}
