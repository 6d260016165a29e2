package helm

import (
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
)

func (c *cluster) configuration3() *action.Configuration {
	c.t.Helper()
	configuration := &action.Configuration{}
	if err := configuration.Init(c.getter(), namespace, "secret", func(string, ...any) {}); err != nil {
		c.t.Fatal(err)
	}
	return configuration
}

// install3 is install by Helm 3.
func (c *cluster) install3(dir, text string) error {
	c.t.Helper()
	install := action.NewInstall(c.configuration3())
	install.ReleaseName, install.Namespace, install.CreateNamespace, install.Timeout = name, namespace, true, time.Minute
	chart, err := loader.LoadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = install.Run(chart, values(c.t, text))
	return err
}

// upgrade3 is upgrade by Helm 3.
func (c *cluster) upgrade3(dir, text string) error {
	c.t.Helper()
	upgrade := action.NewUpgrade(c.configuration3())
	upgrade.Namespace, upgrade.Timeout = namespace, time.Minute
	chart, err := loader.LoadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = upgrade.Run(name, chart, values(c.t, text))
	return err
}
