package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/rollback"
)

// rollbackReport is the ladder of trust: what each policy would have done.
func (g *group) rollbackReport() {
	var service, since string
	cmd := g.add("report", "Show what would have been rolled back, what people did, hits, misses and harm", "  belay rollback report\n  belay rollback report --service checkout --since 90d -o json",
		cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			q := url.Values{"since": {since}}
			if service != "" {
				q.Set("service", service)
			}
			var r rollback.Report
			raw, err := c.get(cmd.Context(), "/rollbacks/report?"+q.Encode(), &r)
			if err != nil {
				return nil, "", err
			}
			return raw, reportText(r, since), nil
		})
	cmd.Flags().StringVar(&service, "service", "", "only of this service")
	cmd.Flags().StringVar(&since, "since", "30d", "how far back: a duration, or a time in RFC 3339")
}

// reportText tells a report: a row a service and rule, then each incident.
func reportText(r rollback.Report, since string) string {
	if len(r.Cases) == 0 {
		return fmt.Sprintf("no incident since %s: nothing to learn from yet\n", plain(since))
	}
	var b strings.Builder
	t := newTable("SERVICE", "RULE", "INCIDENTS", "WOULD", "HITS", "UNNEEDED", "FORWARD", "MISSES", "HARM", "AHEAD")
	for _, row := range r.Rows {
		ahead := ""
		if row.Ahead > 0 {
			ahead = row.Ahead.Round(time.Second).String()
		}
		n := func(i int) string { return fmt.Sprint(i) }
		t.add(row.Service.String(), row.Rule, n(row.Incidents), n(row.Would), n(row.Hits), n(row.Unneeded), n(row.Forward), n(row.Misses), n(row.Harm), ahead)
	}
	b.WriteString(t.String() + "\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "%s %s: %s\n", plain(row.Service.String()), plain(row.Rule), plain(row.Advice))
	}
	b.WriteString("\n")
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "%s  %s  %s\n", c.OpenedAt.UTC().Format("2006-01-02 15:04"), plain(c.Incident), c.Outcome)
		b.WriteString("  Belay " + wrap(c.Said, 8) + "\n")
		b.WriteString("  people " + wrap(c.People, 9) + "\n")
	}
	return b.String()
}
