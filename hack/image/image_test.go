package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const root = "../.."

// built is the image of this checkout, for all tests.
var (
	built    images
	index    v1.ImageIndex
	settings options
)

func TestMain(m *testing.M) {
	rig.Prepare()
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	os.Exit(withImage(m))
}

func withImage(m *testing.M) int {
	folder, err := os.MkdirTemp("", "sgp-image-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	settings = options{root: root, out: folder, version: "v9.8.7", name: "registry.example/sgp-operator", platforms: []string{"linux/amd64", "linux/arm64"}}
	index, built, err = build(context.Background(), settings)
	if err == nil {
		err = settings.write(index, built)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// The same sources in another folder are the same image, to the last byte.
func TestTheSameSourcesAreTheSameImage(t *testing.T) {
	elsewhere := t.TempDir()
	copied := exec.CommandContext(t.Context(), "sh", "-c", "git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - --ignore-failed-read | tar -xf - -C "+elsewhere)
	copied.Dir = root
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again := settings
	again.root = elsewhere
	other, _, err := build(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	first, err1 := index.Digest()
	second, err2 := other.Digest()
	if err := errors.Join(err1, err2); err != nil || first != second {
		t.Errorf("%s and %s (%v)", first, second, err)
	}
}

// make image runs in hack/image, and its reader in the root of the repository.
func TestWhatIsPrintedIsAPathFromTheRepository(t *testing.T) {
	for path, want := range map[string]string{"../../bin/image/oci": "bin/image/oci", "/somewhere/oci": "/somewhere/oci"} {
		if got := (options{root: "../.."}).fromRoot(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// What a registry is given, it gives back whole, for each platform.
func TestARegistryGivesBackWhatItWasGiven(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/sgp-operator:v9.8.7")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Error(err)
	}
	given, _ := index.Digest()
	if got, err := pulled.Digest(); err != nil || got != given {
		t.Errorf("%s came back as %s (%v)", given, got, err)
	}
	path, err := layout.ImageIndexFromPath(filepath.Join(settings.out, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(path); err != nil {
		t.Errorf("the layout: %v", err)
	}
	for _, platform := range settings.platforms {
		loaded, err := tarball.ImageFromPath(settings.tarball(platform), nil)
		if err != nil {
			t.Fatal(err)
		}
		config, err := loaded.ConfigFile()
		if err != nil || config.OS+"/"+config.Architecture != platform || config.Config.User != user || !slices.Equal(config.Config.Entrypoint, []string{"/manager"}) {
			t.Errorf("docker load of %s: %+v (%v)", platform, config, err)
		}
	}
}

// The roots let the operator reach ECS, and nothing is in the image that it does not need.
func TestTheImageHoldsTheBinaryTheRootsAndAUser(t *testing.T) {
	contents := map[string][]byte{}
	reader := mutate.Extract(built["linux/amd64"])
	defer func() { _ = reader.Close() }()
	for files := tar.NewReader(reader); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if contents[header.Name], err = io.ReadAll(files); err != nil {
				t.Fatal(err)
			}
		}
	}
	var names []string
	for name := range contents {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"etc/group", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "manager"}; !slices.Equal(names, want) {
		t.Errorf("it holds %v", names)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents["etc/ssl/certs/ca-certificates.crt"]) || len(pool.Subjects()) < 100 { //nolint:staticcheck // counts what was read
		t.Error("the roots are not read")
	}
	binary := filepath.Join(t.TempDir(), "manager")
	if err := os.WriteFile(binary, contents["manager"], 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), binary, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "v9.8.7 (go") {
		t.Errorf("it calls itself %q (%v)", out, err)
	}
}

// The image runs as it would in a cluster: as its user, with nothing but what it holds, and
// makes a policy Ready.
func TestTheManagerWorksInsideItsImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a container without an engine needs root")
	}
	var notes bytes.Buffer
	tools := exec.CommandContext(t.Context(), "./runtime.sh")
	tools.Stderr = &notes
	out, err := tools.Output()
	if err != nil {
		t.Skipf("umoci and runc cannot be had here: %v\n%s", err, notes.String())
	}
	bin := strings.TrimSpace(string(out))
	ctx := t.Context()
	r, err := rig.New(ctx, "sgp-image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	sim := ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: "image-key", Secret: "image-secret"}},
		Groups: []ecssim.Group{{Region: "cn-hangzhou", ID: "sg-1", Policy: ecssim.Accept}}})
	endpoint, stop, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	r.OnClose(func() error { stop(); return nil })
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := r.StartControlPlane(ctx, rig.ControlPlaneOptions{Root: absolute, StopTimeout: 5 * time.Second})
	if err == nil {
		err = cluster.CreateNamespace(ctx, "net")
	}
	if err != nil {
		t.Fatal(err)
	}
	// umoci cannot choose one of several platforms.
	alone, bundle := filepath.Join(r.Dir, "oci"), filepath.Join(r.Dir, "bundle")
	path, err := layout.Write(alone, empty.Index)
	if err == nil {
		err = path.AppendImage(built["linux/"+runtime.GOARCH], layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": settings.version}))
	}
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.CommandContext(ctx, filepath.Join(bin, "umoci"), "unpack", "--image", alone+":"+settings.version, bundle)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v\n%s", err, out)
	}
	// Its user has to read the kubeconfig.
	shared := t.TempDir()
	kubeconfig, err := os.ReadFile(cluster.ManagerKubeconfig)
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(shared, "kubeconfig"), kubeconfig, 0o644), os.Chmod(shared, 0o755))
	}
	if err == nil {
		err = configure(filepath.Join(bundle, "config.json"), shared, endpoint)
	}
	if err != nil {
		t.Fatal(err)
	}
	id := filepath.Base(r.Dir)
	state := filepath.Join(r.Dir, "runc")
	container, err := r.Start(ctx, rig.Program{Path: filepath.Join(bin, "runc"), Args: []string{"--root", state, "run", "--bundle", bundle, id}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(bin, "runc"), "--root", state, "kill", id, "TERM").Run()
		<-container.Done()
	})
	policy := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "net"},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1", InnerAccessPolicy: "Drop"}}
	if err := cluster.Client.Create(ctx, policy); err != nil {
		t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = container.Until(limit, func(ctx context.Context) error {
		if err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if policy.Status.InnerAccessPolicy != "Drop" {
			return fmt.Errorf("the policy is not Drop yet: %+v", policy.Status.Conditions)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(rig.LastLines(container.Log, 20), "\n"))
	}
	if group, _ := sim.Group("cn-hangzhou", "sg-1"); group.Policy != "Drop" {
		t.Errorf("the group is %s", group.Policy)
	}
}

// configure has a container run the manager against what this test has started, in the
// network of the machine.
func configure(file, shared, endpoint string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	process := config["process"].(map[string]any)
	process["terminal"] = false
	process["args"] = append(process["args"].([]any), "--kubeconfig=/shared/kubeconfig", "--ecs-endpoint="+endpoint, "--sts-endpoint="+endpoint,
		"--lend-own-credentials", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	process["env"] = append(process["env"].([]any), "ALIBABA_CLOUD_ACCESS_KEY_ID=image-key", "ALIBABA_CLOUD_ACCESS_KEY_SECRET=image-secret")
	config["root"].(map[string]any)["readonly"] = true
	config["mounts"] = append(config["mounts"].([]any), map[string]any{"destination": "/shared", "type": "bind", "source": shared, "options": []string{"bind", "ro"}})
	linux := config["linux"].(map[string]any)
	linux["namespaces"] = slices.DeleteFunc(linux["namespaces"].([]any), func(n any) bool { return n.(map[string]any)["type"] == "network" })
	text, err = json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
