package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/pipeline"
)

func configCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show the configuration as it is in force",
		Example: "  belay config show belay.yml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "show [FILE]",
		Short: "Print a configuration with its defaults filled in and its secrets masked",
		Long: `Show prints what a configuration file means: with every default that holds, paths
as they were resolved, and <secret> where a secret stands. It is YAML that loads
again.`,
		Example: "  belay config show\n  belay config show belay.yml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := filepath.Abs(append(args, "belay.yml")[0])
			if err != nil {
				return err
			}
			cfg, err := pipeline.Load(file)
			if err != nil {
				return configError(err)
			}
			text, err := cfg.Show()
			if err != nil {
				return &exitError{exitRefused, err}
			}
			_, err = env.stdout.Write(text)
			if err != nil {
				return fmt.Errorf("print the configuration: %w", err)
			}
			return nil
		},
	})
	return cmd
}
