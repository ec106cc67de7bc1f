package dashboards

// The fixed names of what is provisioned.
const (
	FleetUID      = "belay-fleet"      // of the dashboard of all services
	ServiceUID    = "belay-service"    // of the dashboard of one service
	DatasourceUID = "belay-prometheus" // of the provisioned data source
)

// newDashboard returns a dashboard without panels, with what both have.
func newDashboard(uid, title, description string) dashboard {
	d := dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"belay"},
		GraphTooltip: 1, SchemaVersion: schemaVersion, Refresh: "30s", Time: span{"now-6h", "now"}, Timezone: "browser",
	}
	d.Links = []link{
		{Title: "Belay", Type: "link", URL: "${belay}", Icon: "external link", Tooltip: "Belay's own pages", TargetBlank: true},
		{Title: "Runbooks", Type: "link", URL: runbooks, Icon: "doc", Tooltip: "What to do when Belay itself needs help", TargetBlank: true},
	}
	d.Templating.List = []variable{
		{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus", Current: &choice{DatasourceUID, DatasourceUID}},
		many("job", "Job", `label_values(belay_build_info, job)`),
		many("instance", "Instance", `label_values(belay_build_info{job=~"$job"}, instance)`),
	}
	return d
}

// belayURL is where the pages of Belay are, for links.
func belayURL() variable {
	const at = "http://127.0.0.1:9720"
	return variable{Name: "belay", Label: "Belay's address", Type: "textbox", Query: at, Current: &choice{at, at}}
}

// one is a variable of which one value is chosen.
func one(name, label, values string) variable {
	return variable{
		Name: name, Label: label, Type: "query", Query: variableQuery{Query: values, RefID: name}, Definition: values,
		Datasource: &promRef, Refresh: 2, Sort: 1,
	}
}

// many is a variable of which several values may be chosen, or all.
func many(name, label, values string) variable {
	v := one(name, label, values)
	v.Multi, v.IncludeAll, v.AllValue, v.Current = true, true, ".+", &choice{[]string{"All"}, []string{"$__all"}}
	return v
}

// markers are deployments, incidents and rollbacks on every panel. Deployments
// stand at their very time, since the metric's value is that time; the spans of
// incidents and rollbacks are as exact as Belay is scraped.
func markers(match string) []annotation {
	mark := func(name, color, expr, title, text string) annotation {
		return annotation{
			Name: name, Datasource: promRef, Enable: true, IconColor: color, Expr: promql(expr), Step: "15s",
			TitleFormat: title, TextFormat: text, TagKeys: "environment,service",
		}
	}
	deployed := mark("Deployments", "blue",
		`1000 * belay_deployment_timestamp_seconds{`+match+`} * on (job, instance, environment, service) group_left (version) belay_service_info{`+match+`}`,
		"Deployed", "{{environment}} / {{service}} runs {{version}}")
	deployed.UseValueForTime = true
	return []annotation{
		{Name: "Annotations & Alerts", Datasource: source{"grafana", "-- Grafana --"}, BuiltIn: 1, Enable: true, Hide: true, IconColor: "rgba(0, 211, 255, 1)", Type: "dashboard"},
		deployed,
		mark("Incidents", "red", `sum by (environment, service, severity) (belay_incidents_open{`+match+`}) > 0`, "Incident", "{{environment}} / {{service}}: {{severity}}"),
		mark("Rollbacks", "purple", `max by (environment, service) (belay_service_state{`+match+`, state="rolling_back"}) > 0`, "Rolling back", "{{environment}} / {{service}}"),
	}
}
