package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"github.com/belaydev/belay/pipeline"
)

const routeHelp = `Say which receivers an alert with these labels reaches, and why: the routes that
claim it, the silences, inhibitions and mute times that keep it quiet.

Asks the server, which knows what fires and what is silenced now. With --config
it reads a file instead and needs no server; --firing names alerts that fire at
the same time, --at another time.`

const routeExample = `  belay route test severity=critical team=shop
  belay route test --config belay.yml --firing alertname=ClusterDown --at 2026-12-24T03:00:00Z severity=warning`

// routeCommand tries the routing.
func routeCommand(env *environment) *cobra.Command {
	g := newGroup(env, "route", "Try the routing of alerts")
	g.Example = routeExample
	var file, at string
	var firing []string
	test := g.add("test [LABEL=VALUE…]", "Say who is told of an alert, and why", routeExample, nil,
		func(cmd *cobra.Command, c *client, args []string) ([]byte, string, error) {
			set, err := labelArgs(args)
			if err != nil {
				return nil, "", err
			}
			var result pipeline.RouteTest
			if file == "" {
				if at != "" || len(firing) > 0 {
					return nil, "", usage("--at and --firing need --config FILE: the server answers for now")
				}
				q := url.Values{}
				set.Range(func(l labels.Label) { q.Add("label", l.Name+"="+l.Value) })
				raw, err := c.get(cmd.Context(), "/route?"+q.Encode(), &result)
				return raw, routeText(result), err
			}
			if result, err = routeOffline(file, at, firing, set); err != nil {
				return nil, "", err
			}
			raw, err := json.Marshal(result)
			return raw, routeText(result), err
		})
	test.Long = routeHelp
	test.Flags().StringVar(&file, "config", "", "try the routing of this file, without a server")
	test.Flags().StringVar(&at, "at", "", "at this time (RFC 3339) instead of now")
	test.Flags().StringArrayVar(&firing, "firing", nil, "an alert that fires at the same time: label=value,label=value (may be repeated)")
	return g.Command
}

func routeOffline(file, at string, firing []string, set labels.Labels) (pipeline.RouteTest, error) {
	now := time.Now()
	if at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, at); err != nil {
			return pipeline.RouteTest{}, usage("--at %q is no time; allowed: RFC 3339, such as 2026-12-24T03:00:00Z", at)
		}
	}
	var others []labels.Labels
	for _, text := range firing {
		ls, err := labelArgs(strings.Split(text, ","))
		if err != nil {
			return pipeline.RouteTest{}, err
		}
		others = append(others, ls)
	}
	cfg, err := pipeline.Load(file)
	if err != nil {
		return pipeline.RouteTest{}, &exitError{code: exitRefused, err: err}
	}
	return cfg.RouteTest(set, others, now), nil
}

// labelArgs reads name=value pairs.
func labelArgs(args []string) (labels.Labels, error) {
	set := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return labels.Labels{}, usage("%q is no label; allowed: name=value", arg)
		}
		set[name] = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
	}
	return labels.FromMap(set), nil
}

func routeText(r pipeline.RouteTest) string {
	var b strings.Builder
	fact(&b, "receivers", strings.Join(r.Receivers, ", "))
	told := strings.Join(r.Told, ", ")
	if told == "" {
		told = "nobody: " + r.Muted
	}
	fact(&b, "told now", told)
	if r.Service != "" {
		fact(&b, "service", r.Service)
	}
	b.WriteString("\nWHY\n")
	for _, why := range r.Because {
		fmt.Fprintf(&b, "  %s\n", plain(why))
	}
	return b.String()
}
