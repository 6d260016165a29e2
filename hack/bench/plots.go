package main

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// picture is a plot that was written.
type picture struct{ file, title string }

// curve is a line of a plot.
type curve struct {
	name   string
	points plotter.XYs
	color  color.Color
	dashed bool
}

var (
	blue   = color.RGBA{R: 31, G: 119, B: 180, A: 255}
	orange = color.RGBA{R: 255, G: 127, B: 14, A: 255}
	green  = color.RGBA{R: 44, G: 160, B: 44, A: 255}
	grey   = color.RGBA{R: 120, G: 120, B: 120, A: 255}
)

// plot draws the run with the most resources.
func (r *report) plot(folder string) ([]picture, error) {
	last, s := r.Runs[len(r.Runs)-1], r.Settings
	n := whole(last.N)
	var pictures []picture
	draw := func(file, title, x, y string, curves ...curve) error {
		pictures = append(pictures, picture{file, title})
		return drawLines(filepath.Join(folder, file), title, x, y, curves)
	}
	const second, rate = "seconds", "calls per second"
	st := last.Steady
	err := draw("converge.svg", "Converging "+n+" new resources, half of which need a change", second, rate,
		overTime("reads", last.Create.ReadsPerSecond, blue), overTime("changes", last.Create.ChangesPerSec, orange),
		level("bound", s.Bound, len(last.Create.ReadsPerSecond)))
	if err == nil {
		err = draw("mass-edit.svg", "A mass edit of "+whole(last.Edit.Changed)+" resources of "+n, second, rate,
			overTime("reads", last.Edit.ReadsPerSecond, blue), overTime("changes", last.Edit.ChangesPerSec, orange),
			level("bound", s.Bound, len(last.Edit.ReadsPerSecond)))
	}
	if err == nil {
		err = draw("cold-start.svg", "Cold start over "+n+" resources, with edits", second, rate,
			overTime("reads", last.Cold.ReadsPerSecond, blue), level("bound", s.Bound, len(last.Cold.ReadsPerSecond)))
	}
	if err == nil {
		err = draw("steady-state.svg", fmt.Sprintf("Steady state of %s resources, resync interval %v", n, st.Interval), second, rate,
			overTime("reads", st.ReadsPerSecond, blue), level("mean", st.Spread.Mean, len(st.ReadsPerSecond)),
			level("twice the mean", 2*st.Spread.Mean, len(st.ReadsPerSecond)))
	}
	if err == nil {
		err = draw("edit-latency.svg", "From edit to cloud among "+n+" resources", "milliseconds", "share of the edits",
			distribution("idle", last.Idle, green), distribution("busy with resyncs", last.Busy, blue),
			distribution("during a cold start", last.Cold.Edits, orange))
	}
	return pictures, err
}

func drawLines(path, title, x, y string, curves []curve) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = color.White
	p.Y.Min = 0
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(2)
	for _, c := range curves {
		if len(c.points) == 0 {
			continue
		}
		line, err := plotter.NewLine(c.points)
		if err != nil {
			return fmt.Errorf("plot %s of %s: %w", c.name, path, err)
		}
		line.Color, line.Width = c.color, vg.Points(1.2)
		if c.dashed {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	p.X.Min = 0
	// Room above the curves, for the legend.
	p.Y.Max *= 1.25
	return p.Save(18*vg.Centimeter, 9*vg.Centimeter, path)
}

func overTime(name string, bins []int, c color.Color) curve {
	points := make(plotter.XYs, len(bins))
	for i, n := range bins {
		points[i] = plotter.XY{X: float64(i), Y: float64(n)}
	}
	return curve{name: name, points: points, color: c}
}

func level(name string, y float64, length int) curve {
	return curve{name: name, points: plotter.XYs{{X: 0, Y: y}, {X: float64(length), Y: y}}, color: grey, dashed: true}
}

// distribution is the share of the edits that took no longer than a time.
func distribution(name string, l latencies, c color.Color) curve {
	values := slices.Clone(l.Cloud)
	slices.Sort(values)
	points := make(plotter.XYs, len(values))
	for i, v := range values {
		points[i] = plotter.XY{X: 1000 * v, Y: float64(i+1) / float64(len(values))}
	}
	return curve{name: name, points: points, color: c}
}
