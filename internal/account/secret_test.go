package account

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

func TestKeysFromASecret(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		secret *corev1.Secret
		group  string
		want   string
		id     string
	}{
		"a pair of keys":                {keySecretOf(keyID, keySecret), "sg-1", ecs.Accept, cloudAccount},
		"a temporary key":               {secret("accessKeyId", "STS."+keyID, "accessKeySecret", keySecret, "securityToken", stsToken), "sg-1", ecs.Accept, cloudAccount},
		"of another account":            {keySecretOf(otherID, otherSecret), "sg-2", ecs.Drop, otherAccount},
		"made by echo, with a line end": {keySecretOf(keyID+"\n", keySecret+"\n"), "sg-1", ecs.Accept, cloudAccount},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := account("prod", withSecret)
			w := newWorld(t, worldOptions{objects: []client.Object{a, tt.secret}})
			if got, err := w.observe(t, policy("prod", tt.group)); err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if id, err := w.Check(t.Context(), a); err != nil || id != tt.id {
				t.Errorf("account %q, %v; want %q", id, err, tt.id)
			}
			if _, err := w.observe(t, policy("prod", tt.group)); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"sgp-system/keys"}, w.secretsRead()); diff != "" {
				t.Errorf("Secrets read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	elsewhere := func(s *v1alpha1.ECSAccountSpec) {
		s.Credentials.SecretRef = &v1alpha1.SecretReference{Namespace: "shop", Name: "keys"}
	}
	stolen := keySecretOf(keyID, keySecret)
	stolen.Namespace = "shop"
	for name, tt := range map[string]struct {
		account *v1alpha1.ECSAccount
		secret  *corev1.Secret
		words   []string
		read    []string
	}{
		"missing": {account("prod", withSecret), nil,
			[]string{`"prod"`, "its Secret does not exist"}, nil},
		"empty": {account("prod", withSecret), secret(),
			[]string{`"prod"`, "its Secret must hold the keys accessKeyId and accessKeySecret"}, []string{"sgp-system/keys"}},
		"without the id": {account("prod", withSecret), secret("accessKeySecret", keySecret, "securityToken", stsToken),
			[]string{"must hold the keys accessKeyId and accessKeySecret"}, []string{"sgp-system/keys"}},
		"without the secret": {account("prod", withSecret), secret("accessKeyId", keyID, "AccessKeySecret", keySecret),
			[]string{"must hold the keys accessKeyId and accessKeySecret"}, []string{"sgp-system/keys"}},
		"blank": {account("prod", withSecret), secret("accessKeyId", keyID, "accessKeySecret", " \n"),
			[]string{"must hold the keys accessKeyId and accessKeySecret"}, []string{"sgp-system/keys"}},
		// Whoever may write ECSAccounts must not thereby read the Secrets of every
		// namespace.
		"in a namespace that is not the manager's": {account("prod", elsewhere), stolen,
			[]string{`"prod"`, "Secrets are read from sgp-system only", "--secret-namespaces"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := []client.Object{tt.account}
			if tt.secret != nil {
				objects = append(objects, tt.secret)
			}
			w := newWorld(t, worldOptions{objects: objects})
			_, _, err := w.Client(t.Context(), policy("prod", "sg-1"))
			wantNotReady(t, err, tt.words...)
			if diff := cmp.Diff(tt.read, w.secretsRead()); diff != "" {
				t.Errorf("Secrets read (-want +got):\n%s", diff)
			}
			_, err = w.Check(t.Context(), tt.account)
			wantNotReady(t, err, tt.words...)
			if calls := w.sim.Calls(); len(calls) > 0 {
				t.Errorf("Alibaba Cloud was called: %v", calls)
			}
		})
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		secret *corev1.Secret
		code   string
	}{
		"unknown":                    {keySecretOf("LTAImarkedkeyid00000009", keySecret), "InvalidAccessKeyId.NotFound"},
		"with a wrong secret":        {keySecretOf(keyID, wrongSecret), "SignatureDoesNotMatch"},
		"temporary, without a token": {keySecretOf("STS."+keyID, keySecret), "MissingSecurityToken"},
		"temporary, with another's":  {secret("accessKeyId", keyID, "accessKeySecret", keySecret, "securityToken", stsToken), "InvalidSecurityToken.MismatchWithAccessKey"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := account("prod", withSecret)
			w := newWorld(t, worldOptions{objects: []client.Object{a, tt.secret}})
			_, err := w.observe(t, policy("prod", "sg-1"))
			wantFailure(t, err, ecs.Denied, tt.code)
			_, err = w.Check(t.Context(), a)
			wantFailure(t, err, ecs.Denied, tt.code)
		})
	}
}

func TestWhoseCredentials(t *testing.T) {
	t.Parallel()
	own := map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": otherID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": otherSecret}
	leaving := account("leaving", withSecret)
	leaving.DeletionTimestamp, leaving.Finalizers = new(metav1.Now()), []string{"test/keep"}
	for name, tt := range map[string]struct {
		account, namespace string
		objects            []client.Object
		env                map[string]string
		lend               bool
		owner              string // "" if refused
		words              []string
	}{
		"the account that is named":                               {account: "prod", objects: []client.Object{account("prod", withSecret)}, env: own, owner: cloudAccount},
		"the account called default where none is named":          {objects: []client.Object{account("default", withSecret)}, env: own, owner: cloudAccount},
		"the manager's own where it lends them, without default":  {objects: []client.Object{account("prod", withSecret)}, env: own, lend: true, owner: otherAccount},
		"the manager's own in an account that says nothing else":  {account: "prod", objects: []client.Object{account("prod")}, env: own, owner: otherAccount},
		"nobody's where it does not, without default":             {env: own, words: []string{`ECSAccount "default" cannot be used from namespace "shop"`, "ask an administrator", "spec.accountRef"}},
		"default also where the manager lends its own":            {objects: []client.Object{account("default", withSecret)}, env: own, lend: true, owner: cloudAccount},
		"nobody's for an account that does not exist":             {account: "prod", env: own, words: []string{`ECSAccount "prod" cannot be used`, "it does not exist, or"}},
		"nobody's for an account that is going":                   {account: "leaving", objects: []client.Object{leaving}, env: own, words: []string{`"leaving" is being deleted`}},
		"nobody's for a namespace that may not use the account":   {account: "prod", namespace: "stranger", objects: []client.Object{account("prod", withSecret)}, env: own, words: []string{`"prod"`, `namespace "stranger"`}},
		"nobody's for a namespace that may not use the default":   {namespace: "stranger", objects: []client.Object{account("default", withSecret)}, env: own, lend: true, words: []string{`"default"`, `namespace "stranger"`}},
		"nobody's where neither is there":                         {lend: true, words: []string{"ALIBABA_CLOUD_ACCESS_KEY_ID", "RRSA", "--instance-role"}},
		"the account's where the manager has none":                {account: "prod", objects: []client.Object{account("prod", withSecret)}, owner: cloudAccount},
		"nobody's in an account that needs the manager's missing": {account: "prod", objects: []client.Object{account("prod")}, env: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": keyID}, words: []string{"ALIBABA_CLOUD_ACCESS_KEY_SECRET", "only one is set"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := append([]client.Object{keySecretOf(keyID, keySecret)}, tt.objects...)
			w := newWorld(t, worldOptions{env: tt.env, objects: objects, edit: func(o *Options) { o.LendOwn = tt.lend }})
			p := policy(tt.account, "sg-1")
			if tt.namespace != "" {
				p.Namespace = tt.namespace
			}
			if tt.owner == "" {
				_, err := w.observe(t, p)
				wantNotReady(t, err, tt.words...)
				return
			}
			if tt.owner == otherAccount {
				p.Spec.SecurityGroupID = "sg-2"
			}
			if _, err := w.observe(t, p); err != nil {
				t.Fatal(err)
			}
			if calls := w.sim.Calls(); len(calls) != 1 || calls[0].Account != tt.owner {
				t.Errorf("calls %v, want one of account %s", calls, tt.owner)
			}
		})
	}
}

func TestTheNamespaceOfAResourceMustBeKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{objects: []client.Object{account("prod", withSecret), keySecretOf(keyID, keySecret)}})
	p := policy("prod", "sg-1")
	p.Namespace = "unknown"
	_, _, err := w.Client(t.Context(), p)
	if _, ok := errors.AsType[*NotReadyError](err); err == nil || ok {
		t.Errorf("got %v, want an error that is tried again", err)
	}
}
