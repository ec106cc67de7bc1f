package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/pipeline"
	"github.com/belaydev/belay/strict"
)

func runCommand(env *environment) *cobra.Command {
	var file, level string
	cmd := &cobra.Command{
		Use:     "run --config FILE",
		Short:   "Run the service",
		Example: "  belay run --config belay.yml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var min slog.Level
			if err := min.UnmarshalText([]byte(level)); err != nil {
				return &exitError{exitUsage, errors.New("--log-level is one of debug, info, warn, error")}
			}
			cfg, err := pipeline.Load(file)
			if err != nil {
				return configError(err)
			}
			log := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: min}))
			p, err := pipeline.New(cfg, pipeline.Options{Logger: log, Version: version()})
			if err != nil {
				return &exitError{exitRefused, err}
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(cfg.GCPercent())
			}
			defer reloadOnHangup(cmd.Context(), p)()
			if err := p.Run(cmd.Context()); err != nil {
				return &exitError{exitRefused, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "belay.yml", "configuration `file`")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// reloadOnHangup reloads the configuration at each SIGHUP until the returned
// function is called. How it went is in the log.
func reloadOnHangup(ctx context.Context, p *pipeline.Pipeline) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangup:
				_ = p.Reload(ctx) // it logs why not
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		cancel()
		<-ended
	}
}

// configError prints problems one to a line, and nothing else: editors and CI
// read them.
func configError(err error) error {
	var problems strict.Problems
	if errors.As(err, &problems) {
		return &exitError{exitRefused, problemsError{problems}}
	}
	return &exitError{exitRefused, err}
}

type problemsError struct{ problems strict.Problems }

func (p problemsError) Error() string { return "the configuration has errors\n" + p.problems.Error() }
