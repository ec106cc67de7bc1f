package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/web"
)

// incidentCommand shows incidents and lets people say their part.
func incidentCommand(env *environment) *cobra.Command {
	g := newGroup(env, "incident", "List, show, acknowledge, annotate, assign, rate, merge and resolve incidents")
	g.Example = "  belay incident list --state open\n  belay incident show i-7k2m\n  belay incident ack i-7k2m"
	g.incidentList()
	g.add("show ID", "Show one incident with its timeline", "  belay incident show i-7k2m", cobra.ExactArgs(1),
		func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			var i web.IncidentStory
			raw, err := c.get(cmd.Context(), "/incidents/"+url.PathEscape(args[0]), &i)
			if err != nil {
				return nil, "", err
			}
			return raw, incidentText(i), nil
		})
	g.incidentWords("ack ID [TEXT]", "Say that you look after it", "  belay incident ack i-7k2m", "acknowledged")
	g.incidentWords("note ID TEXT", "Add your words to its story", "  belay incident note i-7k2m 'the cache was cold'", "noted")
	g.incidentWords("resolve ID [TEXT]", "End it by your word", "  belay incident resolve i-7k2m 'false alarm: load test'", "resolved")
	g.incidentTo("assign ID PERSON", "Say who is to look after it", "  belay incident assign i-7k2m bob", "assigned to")
	g.incidentTo("severity ID SEVERITY", "Say how bad it is: critical, warning or info", "  belay incident severity i-7k2m warning", "called")
	g.incidentTo("merge ID INTO", "Make it a part of another one, of another service", "  belay incident merge i-7k2m i-3f9a", "a part of")
	return g.Command
}

func (g *group) incidentList() {
	var service, state string
	cmd := g.add("list", "List incidents, newest first", "  belay incident list --state open", cobra.NoArgs,
		func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			var list struct{ Incidents []belay.Incident }
			query := url.Values{"service": {service}, "state": {state}}
			raw, err := c.get(cmd.Context(), "/incidents?"+query.Encode(), &list)
			if err != nil {
				return nil, "", err
			}
			t := newTable("ID", "SEVERITY", "STATE", "AGE", "TITLE")
			for _, i := range list.Incidents {
				t.add(i.ID, i.Severity, string(i.State), ago(i.OpenedAt), i.Title)
			}
			return raw, t.String(), nil
		})
	cmd.Flags().StringVar(&service, "service", "", "only of this service")
	cmd.Flags().StringVar(&state, "state", "", "only in this state: open, triggered, acknowledged, mitigating, mitigated, resolved")
}

func (g *group) incidentWords(use, short, example, done string) {
	var b web.WordsBody
	verb, _, _ := strings.Cut(use, " ")
	args := cobra.MinimumNArgs(1)
	if verb == "note" {
		args = cobra.MinimumNArgs(2)
	}
	cmd := g.add(use, short, example, args, func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
		b.Actor, b.Text = actorOf(g.env, b.Actor), strings.Join(args[1:], " ")
		raw, err := c.post(cmd.Context(), "/incidents/"+url.PathEscape(args[0])+"/"+verb, b, nil)
		return raw, told(err, "incident %s: %s", plain(args[0]), done), err
	})
	cmd.Flags().StringVar(&b.Actor, "actor", "", "who you are (default $USER)")
}

// incidentTo changes an incident to something: args are its id and that.
func (g *group) incidentTo(use, short, example, done string) {
	var b web.ToBody
	verb, _, _ := strings.Cut(use, " ")
	cmd := g.add(use, short, example, cobra.ExactArgs(2), func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
		b.Actor, b.To = actorOf(g.env, b.Actor), args[1]
		raw, err := c.post(cmd.Context(), "/incidents/"+url.PathEscape(args[0])+"/"+verb, b, nil)
		return raw, told(err, "incident %s: %s %s", plain(args[0]), done, plain(args[1])), err
	})
	cmd.Flags().StringVar(&b.Actor, "actor", "", "who you are (default $USER)")
}

func incidentText(i web.IncidentStory) string {
	var b strings.Builder
	b.WriteString(wrap(i.Title, 0) + "\n\n")
	fact(&b, "service", i.Service.String())
	fact(&b, "state", string(i.State)+" · "+i.Severity)
	fact(&b, "opened", moment(i.OpenedAt)+" UTC")
	if !i.AcknowledgedAt.IsZero() {
		fact(&b, "acknowledged", moment(i.AcknowledgedAt)+" UTC by "+i.AcknowledgedBy)
	}
	if i.AssignedTo != "" {
		fact(&b, "assigned to", i.AssignedTo)
	}
	if i.Reopened > 0 {
		fact(&b, "reopened", fmt.Sprintf("%s UTC, %d in all", moment(i.ReopenedAt), i.Reopened))
	}
	if i.MergedInto != "" {
		fact(&b, "part of", i.MergedInto)
	}
	if !i.ResolvedAt.IsZero() {
		fact(&b, "resolved", moment(i.ResolvedAt)+" UTC")
	}
	if i.Review != nil {
		fact(&b, "review", i.Review.State+": belay review show "+i.ID)
	}
	for _, r := range i.Rollbacks {
		b.WriteString("\nROLLBACK " + plain(r.ID) + "\n" + rollbackText(r))
	}
	b.WriteString("\nALERTS\n")
	t := newTable("RULE", "STATE", "VALUE", "LIMIT", "SINCE")
	for _, a := range i.Alerts {
		t.add(a.Rule, string(a.State), fmt.Sprintf("%.4g", float64(a.Value)), a.Condition, moment(a.ActiveAt))
	}
	b.WriteString(t.String() + "\nTIMELINE\n")
	for _, e := range i.Timeline {
		reason := e.Reason
		if e.Actor != "" {
			reason += " (by " + e.Actor + ")"
		}
		fmt.Fprintf(&b, "%s  %s\n", moment(e.At), wrap(reason, 21))
	}
	return b.String()
}
