package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const imageName = "ghcr.io/sgp-operator/sgp-operator"

var imageLine = regexp.MustCompile(`(?m)(\bimage: ` + regexp.QuoteMeta(imageName) + `):\S+$`)

// manifests writes what kubectl apply -f takes, as kubectl kustomize prints it.
func (r *release) manifests() error {
	kustomizer := krusty.MakeDefaultOptions()
	kustomizer.Reorder = krusty.ReorderOptionLegacy
	for name, folder := range map[string]string{"sgp-operator.yaml": "config/default", "crds.yaml": "config/crd", "account.yaml": "config/account"} {
		built, err := krusty.MakeKustomizer(kustomizer).Run(filesys.MakeFsOnDisk(), filepath.Join(r.root, folder))
		if err != nil {
			return fmt.Errorf("kustomize build %s: %w", folder, err)
		}
		text, err := built.AsYaml()
		if err != nil {
			return fmt.Errorf("kustomize build %s: %w", folder, err)
		}
		if name == "sgp-operator.yaml" {
			if text, err = stamp(text, imageLine, "${1}:"+r.version); err != nil {
				return fmt.Errorf("%s: %w", folder, err)
			}
		}
		if err := r.write(name, text); err != nil {
			return err
		}
	}
	return nil
}

// stamp replaces the one place that a pattern matches.
func stamp(text []byte, pattern *regexp.Regexp, by string) ([]byte, error) {
	if n := len(pattern.FindAll(text, -1)); n != 1 {
		return nil, fmt.Errorf("%d lines match %s, and not one", n, pattern)
	}
	return pattern.ReplaceAll(text, []byte(by)), nil
}

var (
	chartVersion = regexp.MustCompile(`(?m)^version: .*$`)
	appVersion   = regexp.MustCompile(`(?m)^appVersion: .*$`)
)

// chart packs the chart as helm package would, save that it is the same each time.
func (r *release) chart() error {
	folder := filepath.Join(r.root, "charts", "sgp-operator")
	ignored, err := os.ReadFile(filepath.Join(folder, ".helmignore"))
	if err != nil {
		return err
	}
	files, err := tree(folder, "sgp-operator", strings.Fields(string(ignored)))
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(r.version, "v")
	for i, f := range files {
		if f.name != "sgp-operator/Chart.yaml" {
			continue
		}
		text, err := stamp(f.content, chartVersion, "version: "+version)
		if err == nil {
			text, err = stamp(text, appVersion, "appVersion: "+r.version)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		files[i].content = text
	}
	packed, err := gzipped(files, r.made)
	if err != nil {
		return err
	}
	return r.write("sgp-operator-"+version+".tgz", packed)
}
