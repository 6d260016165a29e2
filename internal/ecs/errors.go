package ecs

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// Class is what a failure means for what to do next. The code of the answer
// decides it, the HTTP status only where there is no code.
type Class int

const (
	// Unavailable is a failure that passes: no connection, a timeout, an internal
	// error, a concurrent operation, an answer that cannot be read, or a code
	// that is not in the table.
	Unavailable Class = iota
	// Throttled is a refusal for too many calls.
	Throttled
	// NotFound says that the account has no such group in the region.
	NotFound
	// UnsupportedGroup says that the group is an advanced (enterprise) one.
	UnsupportedGroup
	// ManagedGroup says that the group belongs to a cloud product.
	ManagedGroup
	// Invalid says that a parameter is refused, the region included.
	Invalid
	// Denied says that the key, signature, token or permission is refused.
	Denied
	// TokenRejected says that the client token cannot be used for this request.
	TokenRejected
	// NoCredentials says that there is no credential to sign with.
	NoCredentials
)

// Codes for failures that have no code of ECS.
const (
	// CodeTimeout is a call that took longer than its time limit.
	CodeTimeout = "Timeout"
	// CodeConnectionFailed is a call that found no connection or lost it.
	CodeConnectionFailed = "ConnectionFailed"
	// CodeInvalidResponse is an answer that is not what ECS answers.
	CodeInvalidResponse = "InvalidResponse"
	// CodeNoCredentials is a call that was not made for lack of a credential.
	CodeNoCredentials = "NoCredentials"
	// CodeUnreachable is a call that was not made because others go unanswered.
	CodeUnreachable = "Unreachable"
	// CodeUnknownRegion is a call that was not made because the region is none that
	// may be called.
	CodeUnknownRegion = "UnknownRegion"
	// CodeCanceled is a call that the caller gave up.
	CodeCanceled = "Canceled"
)

// classes is the table of codes. What is not in it is Unavailable: retried, and
// shown as it is. Codes are ECS's, misspellings included. Those of the table are the
// only ones that metrics name: an endpoint can make up any others.
var classes = map[string]Class{
	"InvalidSecurityGroupId.NotFound": NotFound,

	"InvalidParameter.InnerAccessPolicy": UnsupportedGroup,

	"InvalidOperation.ResourceManagedByCloudProduct": ManagedGroup,

	"InvalidSecurityGroupId.Malformed":       Invalid,
	"InvalidPolicy.Malformed":                Invalid,
	"InvalidRegionId.NotFound":               Invalid,
	"MissingParamter.RegionId":               Invalid,
	"MissingParameter.RegionId":              Invalid,
	"MissingParameter":                       Invalid,
	"InvalidParameter":                       Invalid,
	"InvalidParamter":                        Invalid,
	"InvalidParameter.AttributeNotSupported": Invalid,
	codeOfBadPageToken:                       Invalid,
	"InvalidParameter.OwnerAccount":          Invalid,
	"InvalidParameter.Format":                Invalid,
	"InvalidNicType.ValueNotSupported":       Invalid,
	"InvalidOwner":                           Invalid,
	"InvalidParameter.DurationSeconds":       Invalid, // these are of STS
	"InvalidParameter.RoleArn":               Invalid,
	"InvalidParameter.RoleSessionName":       Invalid,
	"InvalidParameter.ExternalId":            Invalid,
	"InvalidParameter.OIDCProviderArn":       Invalid,
	"InvalidOwnerAccount":                    Invalid,
	"InvalidAction.NotFound":                 Invalid,
	"InvalidVersion":                         Invalid,
	"UnsupportedHTTPMethod":                  Invalid,

	"InvalidAccessKeyId":                         Denied,
	"InvalidAccessKeyId.NotFound":                Denied,
	"InvalidAccessKeyId.Inactive":                Denied,
	"Forbidden.AccessKeyDisabled":                Denied,
	"SignatureDoesNotMatch":                      Denied,
	"IncompleteSignature":                        Denied,
	"InvalidSecurityToken.Expired":               Denied,
	"InvalidSecurityToken.Malformed":             Denied,
	"InvalidSecurityToken.MismatchWithAccessKey": Denied,
	"MissingSecurityToken":                       Denied,
	"Forbidden.RAM":                              Denied,
	"NoPermission":                               Denied,
	"Forbidden.SubUser":                          Denied,
	"Forbidden.Unauthorized":                     Denied,
	"Forbidden.RiskControl":                      Denied,
	"Forbidden.NotSupportRAM":                    Denied,

	"AuthenticationFail.NoPermission":      Denied, // these are of STS
	"AuthenticationFail.OIDCToken.Invalid": Denied,
	"EntityNotExist.Role":                  Denied,

	"Throttling":          Throttled,
	"Throttling.User":     Throttled,
	"Throttling.Api":      Throttled,
	"Rejected.Throttling": Throttled,

	"InternalError":                        Unavailable,
	"UnknownError":                         Unavailable,
	"ServiceUnavailable":                   Unavailable,
	"ServiceUnavailable.RegionMaintaining": Unavailable,
	"OperationConflict":                    Unavailable,
	"LastTokenProcessing":                  Unavailable,
	"SignatureNonceUsed":                   Unavailable,
	"IllegalTimestamp":                     Unavailable,
	"InvalidTimeStamp.Expired":             Unavailable,
	"InvalidTimeStamp.Format":              Unavailable,

	"IdempotentParameterMismatch":          TokenRejected,
	"IdempotenceParamNotMatch":             TokenRejected,
	"InvalidIdempotenceParameter.Mismatch": TokenRejected,
	"InvalidClientToken.ValueNotSupported": TokenRejected,
}

// KnownCodes are the codes of ECS and STS that the client tells apart, with what they
// mean.
func KnownCodes() map[string]Class { return maps.Clone(classes) }

// ClassOf is what a code means that an Error without an answer has: one of this
// package's own, or any that it does not know.
func ClassOf(code string) Class {
	switch code {
	case CodeNoCredentials:
		return NoCredentials
	case CodeUnknownRegion:
		return Invalid
	}
	return classes[code]
}

// Error is a failed call. It holds nothing secret: see redact.
type Error struct {
	// Action of the API.
	Action string
	// HTTPStatus of the answer; 0 if there was none.
	HTTPStatus int
	// Code of ECS, or one of the Code constants of this package.
	Code string
	// Message for a person, at most 1,024 characters.
	Message string
	// RequestID of the answer.
	RequestID string
	// Class says what the failure means.
	Class Class
	// RetryAfter is how long ECS asked to wait; zero if it did not say.
	RetryAfter time.Duration

	cause error
}

// Error tells the failure in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Action)
	if e.Code != "" {
		b.WriteString(": " + e.Code)
	}
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.HTTPStatus)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.RequestID != "" {
		b.WriteString(" (request id " + e.RequestID + ")")
	}
	return b.String()
}

// Unwrap gives context.Canceled and context.DeadlineExceeded, where they are the
// cause.
func (e *Error) Unwrap() error { return e.cause }

// RefusesCredential tells whether the failure is about the credential itself, so
// that every other request signed with it would fail as well. A missing
// permission is not: it may hold for one group only.
func (e *Error) RefusesCredential() bool {
	if e == nil || e.Class != Denied {
		return false
	}
	switch e.Code {
	case "Forbidden.RAM", "NoPermission", "Forbidden.SubUser", "Forbidden.Unauthorized", "Forbidden.RiskControl", "Forbidden.NotSupportRAM":
		return false
	}
	return true
}

// codeOfExpiredToken is what the older ECS answers to an expired token; only the
// message tells it from what else the code means.
const codeOfExpiredToken = "InvalidParameter"

// classify finds the class of an answer.
func classify(code, message string, status int) Class {
	switch {
	case strings.Contains(code, "Throttling"):
		return Throttled
	case code == codeOfExpiredToken && strings.Contains(message, "SecurityToken.Expired"):
		return Denied
	case strings.HasPrefix(code, "AuthenticationFail"), strings.HasPrefix(code, "EntityNotExist.Role"):
		return Denied // of STS
	case code != "":
		return classes[code]
	case status == 429:
		return Throttled
	}
	return Unavailable
}
