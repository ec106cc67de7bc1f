package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web"
)

// rollbackCommand holds the whole decision about a rollback.
func rollbackCommand(env *environment) *cobra.Command {
	g := newGroup(env, "rollback", "Plan, start, stop and list rollbacks")
	g.Example = "  belay rollback plan checkout\n  belay rollback start checkout\n  belay rollback stop --all --reason 'maintenance'"
	g.rollbackPlan()
	g.rollbackStart()
	g.rollbackStop()
	g.rollbackRelease()
	g.rollbackList()
	g.rollbackApprove()
	g.rollbackReport()
	return g.Command
}

func (g *group) rollbackPlan() {
	var service func([]string) (string, []string, error)
	cmd := g.add("plan SERVICE", "Show what would be done now, with every guard's answer", "  belay rollback plan checkout\n  belay rollback plan --service staging/checkout",
		nil, func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			name, _, err := service(args)
			if err != nil {
				return nil, "", err
			}
			var r belay.Rollback
			raw, err := c.get(cmd.Context(), "/rollbacks/"+servicePath(name)+"/plan", &r)
			if err != nil {
				return nil, "", err
			}
			return raw, rollbackText(r), refusedBy(r)
		})
	service = serviceFlag(cmd)
}

// refusedBy returns the error of a rollback that a guard refuses. The reason
// has been printed by then.
func refusedBy(r belay.Rollback) error {
	if r.State == belay.RollbackRefused {
		return &exitError{code: exitRefused}
	}
	for _, a := range r.Answers {
		if a.Veto != "" && r.State == "" {
			return &exitError{code: exitRefused}
		}
	}
	return nil
}

func (g *group) rollbackStart() {
	var b web.WordsBody
	var service func([]string) (string, []string, error)
	cmd := g.add("start SERVICE", "Roll a service back; the guards that keep the change safe are still asked", "  belay rollback start checkout --actor ada\n  belay rollback start --service staging/checkout",
		nil, func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			name, _, err := service(args)
			if err != nil {
				return nil, "", err
			}
			b.Actor = actorOf(g.env, b.Actor)
			var r belay.Rollback
			raw, err := c.post(cmd.Context(), "/rollbacks/"+servicePath(name)+"/start", b, &r)
			if err != nil {
				return nil, "", err
			}
			return raw, rollbackText(r), refusedBy(r)
		})
	service = serviceFlag(cmd)
	cmd.Flags().StringVar(&b.Actor, "actor", "", "who orders it (default $USER)")
}

func (g *group) rollbackApprove() {
	var b web.ApproveBody
	cmd := g.add("approve ID", "Approve a rollback that waits for it, once; the guards are asked again", "  belay rollback approve op-5f2c --plan 3a1b2c",
		cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			b.Actor = actorOf(g.env, b.Actor)
			raw, err := c.post(cmd.Context(), "/rollbacks/"+url.PathEscape(args[0])+"/approve", b, nil)
			return raw, told(err, "%s", "rollback "+plain(args[0])+" is approved"), err
		})
	cmd.Flags().StringVar(&b.Plan, "plan", "", "the plan that was shown; refused if it has changed since")
	cmd.Flags().StringVar(&b.Actor, "actor", "", "who approves it (default $USER)")
}

func (g *group) rollbackStop() {
	var b web.WordsBody
	var all bool
	cmd := g.add("stop [ID]", "Stop one rollback, or with --all set the kill switch", "  belay rollback stop 5f2c --reason 'we fix it forward'\n  belay rollback stop --all --reason 'maintenance'",
		cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			if all == (len(args) == 1) {
				return nil, "", usage("give either the id of a rollback or --all")
			}
			b.Actor = actorOf(g.env, b.Actor)
			path, done := "/rollbacks/stop", "the kill switch is set: nothing acts until it is removed"
			if !all {
				path, done = "/rollbacks/"+url.PathEscape(args[0])+"/stop", "rollback "+plain(args[0])+" is stopped"
			}
			raw, err := c.post(cmd.Context(), path, b, nil)
			return raw, told(err, "%s", done), err
		})
	cmd.Flags().BoolVar(&all, "all", false, "stop everything: set the kill switch")
	cmd.Flags().StringVar(&b.Actor, "actor", "", "who stops it (default $USER)")
	cmd.Flags().StringVar(&b.Text, "reason", "", "why")
}

func (g *group) rollbackRelease() {
	var b web.ReleaseBody
	var service func([]string) (string, []string, error)
	cmd := g.add("release SERVICE [REVISION]", "End the hold of a revision, so that it may run again", "  belay rollback release checkout v1.4.3\n  belay rollback release --service staging/checkout",
		nil, func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			name, revision, err := service(args)
			if err != nil {
				return nil, "", err
			}
			b.Actor, b.Revision = actorOf(g.env, b.Actor), ""
			if len(revision) == 1 {
				b.Revision = belay.Content(revision[0])
			}
			raw, err := c.post(cmd.Context(), "/rollbacks/"+servicePath(name)+"/release", b, nil)
			return raw, told(err, "the hold has ended: it counts as new from here on"), err
		})
	service = serviceFlag(cmd)
	cmd.Flags().StringVar(&b.Actor, "actor", "", "who releases it (default $USER)")
}

func (g *group) rollbackList() {
	var service string
	cmd := g.add("list", "List rollbacks, newest first, with the refused ones", "  belay rollback list --service checkout",
		cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			var list struct{ Rollbacks []belay.Rollback }
			raw, err := c.get(cmd.Context(), "/rollbacks?service="+url.QueryEscape(service), &list)
			if err != nil {
				return nil, "", err
			}
			t := newTable("ID", "SERVICE", "FROM", "TO", "STATE", "AGE")
			for _, r := range list.Rollbacks {
				t.add(r.ID, r.Target.Service.String(), r.From.String(), r.To.String(), string(r.State), ago(newest(r)))
			}
			return raw, t.String(), nil
		})
	cmd.Flags().StringVar(&service, "service", "", "only of this service")
}

// newest is when a rollback last moved; zero for one that was only refused.
func newest(r belay.Rollback) time.Time {
	for _, t := range []time.Time{r.ClosedAt, r.HealthyAt, r.ConvergedAt, r.ActedAt, r.IntentAt} {
		if !t.IsZero() {
			return t
		}
	}
	return r.DecidedAt
}

// rollbackText tells a rollback with every guard's answer, in order.
func rollbackText(r belay.Rollback) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s → %s · mode %s · %s\n", plain(r.Target.Service.String()),
		orUnknown(r.From), orUnknown(r.To), plain(string(r.Mode)), plain(string(r.State)))
	if r.Reason != "" {
		b.WriteString(wrap(r.Reason, 0) + "\n")
	}
	if len(r.Answers) > 0 {
		b.WriteString("\n")
	}
	width := 0
	for _, a := range r.Answers {
		width = max(width, len([]rune(a.Guard)))
	}
	for _, a := range r.Answers {
		mark, says := "✔", a.Says
		if a.Veto != "" {
			mark, says = "✖", a.Veto
		}
		guard := strings.ReplaceAll(plain(a.Guard), "_", " ")
		line := fmt.Sprintf("  %s %d %-*s  %s", mark, a.Step, width, guard, wrap(says, width+8))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

func orUnknown(r belay.Revision) string {
	if s := plain(r.String()); s != "" {
		return s
	}
	return "(not known)"
}
