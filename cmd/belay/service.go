package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/belaydev/belay/web"
)

// serviceCommand shows how services are doing.
func serviceCommand(env *environment) *cobra.Command {
	g := newGroup(env, "service", "List and show services")
	g.Example = "  belay service list\n  belay service show checkout"
	g.add("list", "List the configured services", "  belay service list", cobra.NoArgs,
		func(cmd *cobra.Command, c *client, _ []string) ([]byte, string, error) {
			var list struct{ Services []web.ServiceStatus }
			raw, err := c.get(cmd.Context(), "/services", &list)
			if err != nil {
				return nil, "", err
			}
			t := newTable("SERVICE", "STATE", "RUNS", "SINCE", "WHY")
			for _, s := range list.Services {
				t.add(s.Service.String(), s.State, s.Running.String(), ago(s.Since), s.Why)
			}
			return raw, t.String(), nil
		})
	var service func([]string) (string, []string, error)
	show := g.add("show SERVICE", "Show one service", "  belay service show checkout", nil,
		func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			name, _, err := service(args)
			if err != nil {
				return nil, "", err
			}
			var s web.ServiceStatus
			raw, err := c.get(cmd.Context(), "/services/"+servicePath(name), &s)
			if err != nil {
				return nil, "", err
			}
			return raw, serviceText(s), nil
		})
	service = serviceFlag(show)
	return g.Command
}

func serviceText(s web.ServiceStatus) string {
	var b strings.Builder
	fact(&b, "service", s.Service.String())
	fact(&b, "state", s.State+": "+s.Why)
	runs := orUnknown(s.Running)
	if !s.Since.IsZero() {
		runs += " since " + moment(s.Since) + " UTC"
	}
	fact(&b, "runs", runs)
	fact(&b, "content", string(s.Running.Content))
	fact(&b, "standing", string(s.Standing))
	fact(&b, "platform", s.Platform)
	fact(&b, "rollback", string(s.Mode))
	if s.Incident != nil {
		fact(&b, "incident", s.Incident.ID+" · "+string(s.Incident.State)+" · "+s.Incident.Title)
	}
	b.WriteString("\nREVISIONS\n")
	t := newTable("REVISION", "STANDING", "SINCE", "CONTENT")
	for _, l := range s.Ledger {
		standing := string(l.Standing)
		if l.Held {
			standing += ", held"
		}
		t.add(l.Revision.String(), standing, moment(l.Since), string(l.Revision.Content))
	}
	b.WriteString(t.String() + "\nALERTS\n")
	t = newTable("RULE", "STATE", "SINCE")
	for _, a := range s.Alerts {
		t.add(a.Rule, string(a.State), moment(a.ActiveAt))
	}
	b.WriteString(t.String())
	return b.String()
}
