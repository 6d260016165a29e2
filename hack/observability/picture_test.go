package main

import (
	"bufio"
	"errors"
	"image/color"
	"os"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var colors = []color.Color{
	color.RGBA{R: 31, G: 119, B: 180, A: 255}, color.RGBA{R: 255, G: 127, B: 14, A: 255}, color.RGBA{R: 44, G: 160, B: 44, A: 255},
	color.RGBA{R: 214, G: 39, B: 40, A: 255}, color.RGBA{R: 148, G: 103, B: 189, A: 255}, color.RGBA{R: 140, G: 86, B: 75, A: 255},
	color.RGBA{R: 120, G: 120, B: 120, A: 255}, color.RGBA{R: 23, G: 190, B: 207, A: 255},
}

// draw writes a picture of all panels, in a grid as the dashboard has them.
func draw(file string, shown map[string][]line) (err error) {
	var grid [][]*plot.Plot
	for _, row := range rows {
		var plots []*plot.Plot
		for _, p := range row.panels {
			drawn, err := drawPanel(p, shown)
			if err != nil {
				return err
			}
			plots = append(plots, drawn)
		}
		grid = append(grid, plots)
	}
	canvas := vgsvg.New(vg.Points(1400), vg.Points(900))
	area := vgdraw.New(canvas)
	tiles := vgdraw.Tiles{Rows: len(grid), Cols: len(grid[0]), PadX: vg.Points(14), PadY: vg.Points(14), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(6)}
	for r, cells := range plot.Align(grid, tiles, area) {
		for c, cell := range cells {
			grid[r][c].Draw(cell)
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	_, err = canvas.WriteTo(buffered)
	return errors.Join(err, buffered.Flush(), out.Close())
}

var label = regexp.MustCompile(`\{\{(\w+)\}\}`)

func drawPanel(p panel, shown map[string][]line) (*plot.Plot, error) {
	drawn := plot.New()
	drawn.Title.Text, drawn.BackgroundColor = p.title, color.White
	if p.unit != "" {
		drawn.Title.Text += " (" + p.unit + ")"
	}
	drawn.Title.TextStyle.Font.Size = font.Points(11)
	drawn.Y.Min = 0
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Legend.TextStyle.Font.Size = font.Points(7)
	drawn.Add(plotter.NewGrid())
	n := 0
	for _, q := range p.queries {
		lines := shown[q.expr]
		slices.SortFunc(lines, func(a, b line) int { return strings.Compare(legend(q, a), legend(q, b)) })
		for _, l := range lines {
			points := plotter.XYs{}
			for _, point := range l.points {
				if point[1] == point[1] { // no NaN
					points = append(points, plotter.XY{X: point[0], Y: point[1]})
				}
			}
			if len(points) == 0 {
				continue
			}
			curve, err := plotter.NewLine(points)
			if err != nil {
				return nil, err
			}
			curve.Color, curve.Width = colors[n%len(colors)], vg.Points(1.2)
			drawn.Add(curve)
			drawn.Legend.Add(legend(q, l), curve)
			n++
		}
	}
	drawn.Y.Max = max(drawn.Y.Max*1.35, 1e-9) // room for the legend
	return drawn, nil
}

func legend(q query, l line) string {
	return label.ReplaceAllStringFunc(q.legend, func(name string) string { return l.labels[strings.Trim(name, "{}")] })
}
