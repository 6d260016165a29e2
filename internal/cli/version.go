package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sgp-operator/sgp-operator/internal/version"
)

func (p Process) versionCommand() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use: "version [-o json]", Short: "Say which build this is", Args: noArguments, DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			switch output {
			case "":
				_, err := fmt.Fprintln(p.Stdout, version.Get())
				return err
			case "json":
				return json.NewEncoder(p.Stdout).Encode(version.Get())
			}
			return misused("--output %q: use json, or leave it out", output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "", "json for a machine; a line by default.")
	return command
}
