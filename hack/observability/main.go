// Command observability makes what the monitoring of an installation takes: the
// dashboard of Grafana, from dashboard.go, and the PrometheusRule, from
// config/prometheus/rules.yaml.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	rulesFile     = "config/prometheus/rules.yaml"
	ruleFile      = "config/prometheus/prometheus_rule.yaml"
	dashboardFile = "config/prometheus/dashboards/sgp-operator.json"
)

func main() {
	root := flag.String("root", ".", "The repository.")
	flag.Parse()
	if err := generate(*root); err != nil {
		fmt.Fprintln(os.Stderr, "observability:", err)
		os.Exit(1)
	}
}

// generate writes the files that are made.
func generate(root string) error {
	made, err := files(root)
	if err != nil {
		return err
	}
	for name, text := range made {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil { //nolint:gosec // for everybody to read
			return err
		}
	}
	return nil
}

// files are those that are made, by their paths in the repository.
func files(root string) (map[string][]byte, error) {
	rules, err := os.ReadFile(filepath.Join(root, rulesFile))
	if err != nil {
		return nil, err
	}
	made, err := board()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{ruleFile: wrap(rules), dashboardFile: made}, nil
}

const ruleHead = `# Made from rules.yaml: make dashboards.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sgp-operator
  namespace: sgp-system
  labels:
    app.kubernetes.io/name: sgp-operator
    app.kubernetes.io/part-of: sgp-operator
spec:
`

// wrap makes a PrometheusRule of the rules.
func wrap(rules []byte) []byte {
	out := bytes.NewBufferString(ruleHead)
	for line := range strings.Lines(string(rules)) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString("  " + line)
		}
	}
	return out.Bytes()
}
