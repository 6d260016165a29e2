package ecsaccount

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
)

// The API server's own words name the Secret, and events are not for administrators
// alone.
func TestASecretThatCannotBeReadIsNotNamed(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("%w sgp-system/hush: %w", account.ErrSecretUnread, errors.New(`secrets "hush" is forbidden`))
	s := summarize("", err)
	if s.Ready != metav1.ConditionFalse || s.Reason != v1alpha1.ReasonCredentialsNotFound || strings.Contains(s.Message, "hush") || strings.Contains(s.Message, "sgp-system") {
		t.Errorf("%+v", s)
	}
}
