// Package version says which build this is.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// stamped is set by the linker for a release, as v0.1.0.
var stamped string

// Info is what a build knows of itself.
type Info struct {
	// Version is the release, or the module's version as go install knows it, or (devel).
	Version string `json:"version"`
	// Revision is the commit, if the build knows it; with +changes if it was not clean.
	Revision string `json:"revision,omitempty"`
	// Go is the compiler's version, and Platform what it compiled for.
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get returns what this build is.
func Get() Info {
	i := Info{Version: stamped, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		i.Version = cmp.Or(stamped, build.Main.Version)
		changed := ""
		for _, s := range build.Settings {
			switch {
			case s.Key == "vcs.revision":
				i.Revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = "+changes"
			}
		}
		if i.Revision != "" {
			i.Revision += changed
		}
	}
	i.Version = cmp.Or(i.Version, "(devel)")
	return i
}

// String is a line for people.
func (i Info) String() string {
	if i.Revision == "" {
		return fmt.Sprintf("%s (%s, %s)", i.Version, i.Go, i.Platform)
	}
	return fmt.Sprintf("%s, commit %s (%s, %s)", i.Version, i.Revision, i.Go, i.Platform)
}
