package ecssim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// inputError is what is wrong with a body, in words for its author.
type inputError string

func (e inputError) Error() string { return string(e) }

// strict decodes exactly one JSON value and refuses fields that it does not know:
// a misspelt field would otherwise make a test pass for the wrong reason.
func strict(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return inputError("body: send one JSON value only")
	}
	if inner, ok := errors.AsType[inputError](err); ok {
		return inner
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return inputError(fmt.Sprintf("field %s: use a %s, not a %s", strings.TrimPrefix(wrong.Field, "plain."), wrong.Type, wrong.Value))
	}
	return inputError("body: " + strings.TrimPrefix(err.Error(), "json: ") + ": the fields are in docs/simulator.md")
}

// parseDuration reads a duration as text, such as "1.5s"; none is zero.
func parseDuration(field, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, inputError(fmt.Sprintf("field %s: %q is no duration: use a form such as 250ms, 2s or 1m", field, text))
	}
	return d, nil
}

// durationText is what parseDuration reads; zero is left out.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// MarshalJSON writes a role as UnmarshalJSON reads it.
func (r Role) MarshalJSON() ([]byte, error) {
	type plain Role
	return json.Marshal(struct {
		plain
		MaxDuration string `json:"maxDuration,omitempty"`
	}{plain(r), durationText(r.MaxDuration)})
}

// UnmarshalJSON reads a role of the control API, with its maxDuration as text.
func (r *Role) UnmarshalJSON(raw []byte) error {
	type plain Role
	wire := struct {
		*plain
		MaxDuration string `json:"maxDuration"`
	}{plain: (*plain)(r)}
	err := strict(raw, &wire)
	if err == nil {
		r.MaxDuration, err = parseDuration("maxDuration", wire.MaxDuration)
	}
	return err
}

// MarshalJSON writes a lag as UnmarshalJSON reads it.
func (l ReadLag) MarshalJSON() ([]byte, error) {
	type plain ReadLag
	return json.Marshal(struct {
		plain
		For string `json:"for,omitempty"`
	}{plain(l), durationText(l.For)})
}

// UnmarshalJSON reads a lag of the control API, with its "for" as text.
func (l *ReadLag) UnmarshalJSON(raw []byte) error {
	type plain ReadLag
	wire := struct {
		*plain
		For string `json:"for"`
	}{plain: (*plain)(l)}
	err := strict(raw, &wire)
	if err == nil {
		l.For, err = parseDuration("for", wire.For)
	}
	return err
}

// MarshalJSON writes a limit as UnmarshalJSON reads it.
func (l Limit) MarshalJSON() ([]byte, error) {
	type plain Limit
	return json.Marshal(struct {
		plain
		Window string `json:"window,omitempty"`
	}{plain(l), durationText(l.Window)})
}

// UnmarshalJSON reads a limit of the control API, with its window as text.
func (l *Limit) UnmarshalJSON(raw []byte) error {
	type plain Limit
	wire := struct {
		*plain
		Window string `json:"window"`
	}{plain: (*plain)(l)}
	err := strict(raw, &wire)
	if err == nil {
		l.Window, err = parseDuration("window", wire.Window)
	}
	return err
}

// MarshalJSON writes a fault as UnmarshalJSON reads it.
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	return json.Marshal(struct {
		plain
		Delay string `json:"delay,omitempty"`
	}{plain(f), durationText(f.Delay)})
}

// UnmarshalJSON reads a fault of the control API, with its delay as text.
func (f *Fault) UnmarshalJSON(raw []byte) error {
	type plain Fault
	wire := struct {
		*plain
		Delay string `json:"delay"`
	}{plain: (*plain)(f)}
	err := strict(raw, &wire)
	if err == nil {
		f.Delay, err = parseDuration("delay", wire.Delay)
	}
	return err
}
