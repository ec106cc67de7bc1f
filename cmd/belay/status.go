package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/web"
)

// statusCommand shows how Belay itself is doing. Its exit code is 1 when Belay
// is not ready.
func statusCommand(env *environment) *cobra.Command {
	g := newGroup(env, "belay", "")
	cmd := g.add("status", "Show how Belay itself is doing", "  belay status\n  BELAY_URL=http://127.0.0.1:9721 belay status -o json", cobra.NoArgs,
		func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			var s web.Status
			raw, err := c.get(cmd.Context(), "/status", &s)
			if err != nil {
				return nil, "", err
			}
			if !s.Ready {
				err = &exitError{code: exitRefused}
			}
			return raw, statusText(s), err
		})
	g.RemoveCommand(cmd)
	cmd.Flags().StringVarP(&g.format, "output", "o", "text", "form of the output: text or json")
	return cmd
}

func statusText(s web.Status) string {
	var b strings.Builder
	ready := "ready"
	if !s.Ready {
		ready = "not ready: " + s.Reason
	}
	fact(&b, "belay", s.Version+" · "+ready)
	fact(&b, "started", moment(s.StartedAt)+" UTC")
	fact(&b, "kill switch", s.KillSwitch)
	fact(&b, "services", fmt.Sprint(s.Services))
	fact(&b, "incidents", fmt.Sprintf("%d open", s.OpenIncidents))
	fact(&b, "alerts", fmt.Sprintf("%d firing", s.FiringAlerts))
	fact(&b, "messages", fmt.Sprintf("%d waiting", s.OutboxDepth))
	fact(&b, "journal", fmt.Sprintf("%d events", s.Journal))
	if s.Kept != nil {
		fact(&b, "keeps", s.Kept.String())
	}
	for _, n := range s.Notices {
		fact(&b, "notice", n)
	}
	if len(s.Log) > 0 {
		b.WriteString("\n")
	}
	for _, e := range s.Log {
		fmt.Fprintf(&b, "%s  %s\n", moment(e.At), wrap(e.Reason, 21))
	}
	return b.String()
}
