package rig

import (
	"context"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ManagerNamespace is where config installs the manager, ManagerAccount its service
// account.
const (
	ManagerNamespace = "sgp-system"
	ManagerAccount   = "sgp-manager"
)

// admitManager installs what config lets the manager do, and writes the manager's kubeconfig. It has a
// token, as in any cluster, which the API server remembers: a client certificate's
// signature is verified at each request, at a sixteenth of the API server's time.
func (c *ControlPlane) admitManager(ctx context.Context, root string) error {
	var manifests []Manifest
	for _, folder := range []string{"rbac", "guard", "approvals"} {
		more, err := ReadManifests(filepath.Join(root, "config", folder))
		if err != nil {
			return err
		}
		manifests = append(manifests, more...)
	}
	if err := c.CreateNamespace(ctx, ManagerNamespace); err != nil {
		return err
	}
	for _, m := range manifests {
		if err := c.Client.Create(ctx, m.Object); err != nil {
			return fmt.Errorf("%s: %w", m.File, err)
		}
	}
	account, token := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ManagerNamespace, Name: ManagerAccount}}, &authenticationv1.TokenRequest{}
	if err := c.Client.SubResource("token").Create(ctx, account, token); err != nil {
		return fmt.Errorf("token of %s: %w", ManagerAccount, err)
	}
	config, err := clientcmd.Load(c.env.KubeConfig)
	if err != nil {
		return err
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	c.ManagerKubeconfig = c.rig.path("manager.kubeconfig")
	return clientcmd.WriteToFile(*config, c.ManagerKubeconfig)
}
