package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/docs"
	"github.com/belaydev/belay/pipeline"
)

func configCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show the configuration as it is in force, or what it may hold",
		Example: "  belay config show belay.yml\n  belay config schema > belay.schema.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(showCommand(env), schemaCommand(env))
	return cmd
}

func schemaCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Long: `Schema prints a JSON Schema of the configuration file. The language server for
YAML completes and checks with it when the file begins with

  # yaml-language-server: $schema=belay.schema.json

It knows names, types and choices. What the values mean together, and whether
files exist, belay check knows.`,
		Example: "  belay config schema > belay.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, err := env.stdout.Write(docs.Schema()); err != nil {
				return fmt.Errorf("print the schema: %w", err)
			}
			return nil
		},
	}
}

func showCommand(env *environment) *cobra.Command {
	return &cobra.Command{
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
	}
}
