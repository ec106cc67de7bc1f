package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, env *environment) int {
	root := rootCommand(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: exitUsage, err: err} // cobra's own: an unknown command, flag or argument
	}
	if exit.err != nil {
		fmt.Fprintln(env.stderr, "belay: "+exit.err.Error())
	}
	return exit.code
}

func rootCommand(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "belay",
		Short: "Watch deployments, take the bad ones back, prove that it helped, write the review",
		Long: `Belay watches deployments: it scrapes their health, judges it by rules, tells
people, takes a bad release back through the platform that deployed it, proves
that this helped, and writes the post-incident review.`,
		Example:       "  belay demo\n  belay check belay.yml\n  belay run --config belay.yml",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.AddCommand(
		runCommand(env), demoCommand(env), checkCommand(env), configCommand(env),
		deployCommand(env), rollbackCommand(env), incidentCommand(env), reviewCommand(env), alertsCommand(env),
		serviceCommand(env), routeCommand(env), statusCommand(env), releasesCommand(env), detectCommand(env), versionCommand(env),
	)
	root.SetVersionTemplate(versionLine())
	root.CompletionOptions.DisableDescriptions = false
	return root
}
