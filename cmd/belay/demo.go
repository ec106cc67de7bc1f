package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/demo"
)

// exitInterrupted is what shells expect after Ctrl-C.
const exitInterrupted = 130

func demoCommand(env *environment) *cobra.Command {
	opts := demo.Options{Out: env.stdout, Getenv: env.getenv}
	var fault string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play one real incident on this machine, from release to review",
		Long: `Starts a small shop as real processes, load on it, a local Slack, and Belay as
a process of its own; releases a bad version; and shows detection, message,
rollback and review as they happen. Nothing leaves this machine.`,
		Example: "  belay demo\n  belay demo --fault leak --once\n  belay demo --fault none --dir /tmp/calm",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if opts.Fault, err = demo.ParseFault(fault); err != nil {
				return &exitError{exitUsage, err}
			}
			if opts.Platform, err = demo.ParsePlatform(opts.Platform); err != nil {
				return &exitError{exitUsage, err}
			}
			if opts.Binary, err = os.Executable(); err != nil {
				return &exitError{exitRefused, err}
			}
			return demoExit(demo.Run(cmd.Context(), opts))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&fault, "fault", string(demo.FaultErrors), "what is wrong with the release: errors, latency, crash, leak or none")
	flags.StringVar(&opts.Platform, "platform", demo.PlatformCommand, platformHelp())
	flags.StringVar(&opts.Dir, "dir", "", "`directory` for everything that is left behind (default: a new temporary one)")
	flags.StringVar(&opts.Listen, "listen", "", "`address` of Belay's pages (default: 127.0.0.1:9720, or a free one)")
	flags.BoolVar(&opts.NoBrowser, "no-browser", false, "do not open the pages in a browser")
	flags.BoolVar(&opts.Once, "once", false, "end after the review is written")
	cmd.AddCommand(demoShopCommand(env), demoCrashCommand(env))
	return cmd
}

func platformHelp() string {
	return "where the shop runs: " + strings.Join(demo.Platforms(), ", ")
}

// demoExit gives the end of a demo its exit code.
func demoExit(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &exitError{exitInterrupted, nil}
	case errors.Is(err, demo.ErrUsage):
		return &exitError{exitUsage, err}
	}
	return &exitError{exitRefused, err}
}

// demoShopCommand is one version of the demo's shop; the supervisor starts it.
func demoShopCommand(env *environment) *cobra.Command {
	opts := demo.ShopOptions{Out: env.stdout}
	var fault string
	cmd := &cobra.Command{
		Use:    "shop",
		Short:  "Serve one version of the demo's shop",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if opts.Fault, err = demo.ParseFault(fault); err != nil {
				return &exitError{exitUsage, err}
			}
			err = demo.Shop(cmd.Context(), opts)
			switch {
			case errors.Is(err, demo.ErrCrashed):
				return &exitError{2, err}
			case err != nil:
				return &exitError{exitRefused, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&opts.Listen, "listen", "127.0.0.1:0", "`address`")
	cmd.Flags().StringVar(&opts.Version, "version", "dev", "what it calls itself")
	cmd.Flags().StringVar(&fault, "fault", string(demo.FaultNone), "errors, latency, crash, leak or none")
	return cmd
}

// demoCrashCommand repeats the demo and kills Belay in it; see make crash.
func demoCrashCommand(env *environment) *cobra.Command {
	opts := demo.CrashOptions{Out: env.stdout}
	cmd := &cobra.Command{
		Use:    "crash",
		Short:  "Play the incident again and again, and kill Belay at random moments",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if opts.N < 1 {
				return &exitError{exitUsage, fmt.Errorf("--n %d: want at least one round", opts.N)}
			}
			if opts.Platform, err = demo.ParsePlatform(opts.Platform); err != nil {
				return &exitError{exitUsage, err}
			}
			if opts.Binary, err = os.Executable(); err != nil {
				return &exitError{exitRefused, err}
			}
			return demoExit(demo.Crash(cmd.Context(), opts))
		},
	}
	cmd.Flags().IntVar(&opts.N, "n", 20, "`rounds`")
	cmd.Flags().StringVar(&opts.Platform, "platform", demo.PlatformCommand, platformHelp())
	cmd.Flags().Uint64Var(&opts.Seed, "seed", 0, "of the moments, to repeat a run; 0 chooses and prints one")
	return cmd
}
