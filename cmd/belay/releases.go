package main

import (
	"github.com/spf13/cobra"

	"github.com/belaydev/belay/rollback/command/releases"
)

// releasesCommand is the shipped reference for the command platform: release
// directories with a `current` symlink. Its exit codes are that platform's
// contract, so it reads its own flags.
func releasesCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:                "releases [--dir DIR] init|state|list|activate|deploy|supervise SERVICE",
		Short:              "Release directories with a current symlink, for the command platform",
		Example:            "  belay releases --dir /srv/releases state checkout\n  belay releases --dir /srv/releases supervise checkout",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := releases.Main(cmd.Context(), args, env.stdin, env.stdout, env.stderr); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}
