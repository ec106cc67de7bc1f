package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/alerting"
)

// alertsCommand tells which rules are worth their noise.
func alertsCommand(env *environment) *cobra.Command {
	g := newGroup(env, "alerts", "Tell which rules are worth their noise")
	g.Example = "  belay alerts report\n  belay alerts report --since 90d"
	var since string
	cmd := g.add("report", "Show how often each rule fired, flapped and led to action, and what to tune or delete", "  belay alerts report\n  belay alerts report --since 90d -o json",
		cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			var r alerting.AlertsReport
			raw, err := c.get(cmd.Context(), "/alerts/report?"+url.Values{"since": {since}}.Encode(), &r)
			if err != nil {
				return nil, "", err
			}
			return raw, alertsText(r, since), nil
		})
	cmd.Flags().StringVar(&since, "since", "30d", "how far back: a duration, or a time in RFC 3339")
	return g.Command
}

// alertsText tells a report: a row a rule, then what to do about each.
func alertsText(r alerting.AlertsReport, since string) string {
	if len(r.Rules) == 0 {
		return fmt.Sprintf("no rule has fired since %s\n", plain(since))
	}
	t := newTable("RULE", "FIRED", "NOW", "MEDIAN", "FLAPPED", "INCIDENTS", "ACKED", "ACTED", "LAST")
	n := func(i int) string { return fmt.Sprint(i) }
	for _, row := range r.Rules {
		median := ""
		if row.Median > 0 {
			median = row.Median.Round(time.Second).String()
		}
		t.add(row.Rule, n(row.Fired), n(row.Firing), median, n(row.Flapped), n(row.Incidents), n(row.Acknowledged), n(row.Acted), ago(row.Last)+" ago")
	}
	var b strings.Builder
	b.WriteString(t.String() + "\n")
	for _, row := range r.Rules {
		b.WriteString(wrap(row.Rule+": "+row.Advice, 2) + "\n")
	}
	return b.String()
}
