package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/pipeline"
	"github.com/belaydev/belay/rules"
	"github.com/belaydev/belay/strict"
)

func checkCommand(env *environment) *cobra.Command {
	var lint bool
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "Prove configuration and rule files offline",
		Long: `Check reads each file as belay run would, without touching a network, and prints
every error as file:line: what is wrong; allowed: what is allowed. A file with
the top-level key "groups" is a rule file, any other a configuration.`,
		Example: "  belay check belay.yml\n  belay check --lint belay.yml rules/*.yml",
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usage("name the files to check: belay check FILE…")
			}
			bad := 0
			for _, file := range files {
				if !checkFile(cmd.Context(), env, file, lint) {
					bad++
				}
			}
			if bad > 0 {
				return &exitError{code: exitRefused}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&lint, "lint", false, "also warn of what is allowed but unwise")
	return cmd
}

func checkFile(ctx context.Context, env *environment, file string, lint bool) bool {
	text, err := readFile(ctx, file)
	if err != nil {
		fmt.Fprintln(env.stderr, err)
		return false
	}
	if doc, _ := strict.Parse(file, text); doc.Has("tests") {
		fmt.Fprintln(env.stderr, doc.At("this is a file of rule tests, which check does not read", "configurations and rule files; promtool test rules runs the tests", "tests"))
		return false
	}
	if isRuleFile(file, text) {
		set, problems := rules.Parse(file, text)
		if len(problems) > 0 {
			fmt.Fprintln(env.stderr, problems)
			return false
		}
		fmt.Fprintf(env.stdout, "%s: %s\n", file, countRules(set))
		return true
	}
	cfg, err := pipeline.Parse(file, text)
	if err != nil {
		fmt.Fprintln(env.stderr, err)
		return false
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(env.stdout, "warning: "+w)
	}
	if lint {
		for _, w := range cfg.Lint() {
			fmt.Fprintln(env.stdout, "lint: "+w.String())
		}
	}
	fmt.Fprintf(env.stdout, "%s: %s, %s, %s\n", file, count(len(cfg.Services), "service"), count(len(cfg.Collector.ScrapeConfigs), "scrape config"), countRules(cfg.Rules))
	return true
}

// readFile reads a file, or gives up when ctx ends: a pipe may never end.
func readFile(ctx context.Context, file string) ([]byte, error) {
	type read struct {
		text []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		text, err := os.ReadFile(file)
		done <- read{text, err}
	}()
	select {
	case r := <-done:
		var pe *os.PathError
		if errors.As(r.err, &pe) {
			r.err = fmt.Errorf("%s: %w", file, pe.Err)
		}
		return r.text, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", file, ctx.Err())
	}
}

func isRuleFile(file string, text []byte) bool {
	doc, problems := strict.Parse(file, text)
	if len(problems) > 0 {
		return bytes.HasPrefix(text, []byte("groups:")) || bytes.Contains(text, []byte("\ngroups:"))
	}
	return doc.Has("groups")
}

func countRules(set rules.Set) string {
	n := 0
	var names []string
	for _, g := range set.Groups {
		n += len(g.Rules)
		names = append(names, g.Name)
	}
	if n == 0 {
		return "0 rules"
	}
	return count(n, "rule") + " in " + strings.Join(names, ", ")
}
