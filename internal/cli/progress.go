package cli

import (
	"os"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress counts what was done, and shows it where a person looks on.
type progress struct {
	lists, reads atomic.Int64
	bars         *mpb.Progress // nil: nobody looks on
	bar          *mpb.Bar      // of what is under way
}

// newProgress shows bars if standard error is a terminal, no CI's, and nothing is written
// for a machine.
func newProgress(p Process, machine bool) *progress {
	file, ok := p.Stderr.(*os.File)
	if !ok || machine || p.Env("CI") != "" || !term.IsTerminal(int(file.Fd())) {
		return &progress{}
	}
	return &progress{bars: mpb.New(mpb.WithOutput(file), mpb.WithWidth(40))}
}

// listing begins the part of the work whose length is not known.
func (p *progress) listing() {
	if p.bars != nil {
		p.bar = p.bars.New(0, mpb.SpinnerStyle().PositionLeft(), mpb.BarWidth(2),
			mpb.AppendDecorators(decor.CurrentNoUnit("listing: %d groups")))
	}
}

func (p *progress) listed(groups int) {
	p.lists.Add(int64(groups))
	if p.bar != nil {
		p.bar.IncrBy(groups)
	}
}

// reading begins the part whose length is known.
func (p *progress) reading(total int) {
	if p.bars == nil {
		return
	}
	if p.bar != nil {
		p.bar.Abort(true)
		p.bar = nil
	}
	if total > 0 {
		p.bar = p.bars.AddBar(int64(total), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.CountersNoUnit("reading: %d of %d ")),
			mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))
	}
}

func (p *progress) read() {
	p.reads.Add(1)
	if p.bar != nil {
		p.bar.Increment()
	}
}

// end takes the bar away, so that what is said next stands alone.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Abort(true)
	}
	if p.bars != nil {
		p.bars.Wait()
	}
}
