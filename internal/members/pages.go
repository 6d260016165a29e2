package members

import (
	"context"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// part is a listing that is not at its end yet.
type part struct {
	began  time.Time
	token  string
	tokens map[string]bool
	items  any
}

// pages reads a listing to its end, or up to where it has to wait for the rate, or its time
// is up: then the part knows how to go on.
func pages[T any](ctx context.Context, p *part, next func(ctx context.Context, token string) (ecs.Page[T], time.Duration, error)) ([]T, time.Duration, error) {
	all, _ := p.items.([]T)
	begun := len(all)
	if p.tokens == nil {
		p.tokens = map[string]bool{}
	}
	for {
		page, wait, err := next(ctx, p.token)
		if err != nil && ctx.Err() != nil && len(all) > begun {
			err, wait = nil, busy
		}
		if err != nil {
			return nil, 0, err
		}
		if wait > 0 {
			p.items = all
			return nil, wait, nil
		}
		all = append(all, page.Items...)
		switch {
		case page.Next == "":
			return all, 0, nil
		case p.tokens[page.Next], len(p.tokens) >= maxPages:
			return nil, 0, &ecs.Error{Action: "Describe", Code: ecs.CodeInvalidResponse, Class: ecs.Unavailable, Message: "the pages of the list do not end"}
		}
		p.tokens[page.Next], p.token = true, page.Next
	}
}
