// Package logging makes the logger's values cheap where nothing is logged:
// controller-runtime gives every pass a logger of its own with half a dozen values,
// zap encodes them at once, and nearly all passes are silent. It knows nothing
// but zap.
package logging

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lazily has values encoded when a line is written, not when a logger gets them.
func Lazily() zap.Option {
	return zap.WrapCore(func(core zapcore.Core) zapcore.Core { return lazyCore{Core: core} })
}

// lazyCore keeps the values beside the core that is to encode them.
type lazyCore struct {
	zapcore.Core
	values []zapcore.Field
}

// With implements zapcore.Core.
func (c lazyCore) With(values []zapcore.Field) zapcore.Core {
	return lazyCore{Core: c.Core, values: slices.Concat(c.values, values)}
}

// Check implements zapcore.Core.
func (c lazyCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c lazyCore) Write(entry zapcore.Entry, values []zapcore.Field) error {
	return c.Core.Write(entry, slices.Concat(c.values, values))
}
