package dashboards

// service shows one service, and below it Belay's own health, since a judgement
// is worth what the judge can see.
func service() dashboard {
	d := newDashboard(ServiceUID, "Belay / Service", "One service: what runs, what was wrong, what was done about it. Below: how well Belay itself sees and acts.")
	d.Templating.List = append(d.Templating.List,
		one("environment", "Environment", `label_values(belay_service_info{job=~"$job", instance=~"$instance"}, environment)`),
		one("service", "Service", `label_values(belay_service_info{job=~"$job", instance=~"$instance", environment=~"$environment"}, service)`),
		belayURL(),
	)
	d.Links = append(d.Links,
		link{Title: "This service in Belay", Type: "link", URL: "${belay}/services/${environment}/${service}", Icon: "external link", TargetBlank: true},
		link{Title: "Fleet", Type: "link", URL: "/d/" + FleetUID, Icon: "dashboard", KeepTime: true, IncludeVars: true},
	)
	d.Annotations.List = markers("service")
	panels := append(serviceNow(), serviceHistory()...)
	d.Panels = layout(append(panels, belayItself()...)...)
	return d
}

func serviceNow() []panel {
	yesNo := valueMap(mapped{Text: "no", Color: "green"}, mapped{Text: "yes", Color: "orange"})
	version := stat("Runs", "The version that the platform reports as running.", "none", `max by (version) (belay_service_info{service})`, nameOnly)
	version.Targets[0].LegendFormat = "{{version}}"
	return []panel{
		stat("State", "What Belay thinks of the service.", "", stateExpr("service"), stateNames),
		version,
		stat("For", "How long ago the content that runs was deployed.", "dtdurations", `time() - max(belay_deployment_timestamp_seconds{service})`),
		stat("Open incidents", "Incidents of this service that are not resolved.", "short", `sum(belay_incidents_open{service})`, badFrom(1, "red")),
		stat("Rolled back", "Whether it runs what a rollback of Belay put there.", "", `max(belay_rolled_back{service})`, yesNo),
		stat("Held revisions", "Revisions that are held back because an incident was attributed to them.", "short", `sum(belay_revision_held{service}) or vector(0)`, badFrom(1, "orange")),
		timeline("State over time", "What Belay thought of the service.", 5, "service"),
	}
}

func serviceHistory() []panel {
	return []panel{
		lines("Alerts", "Alerts of this service that are pending or firing.", "short", 12, []query{{`sum by (alertname, state) (belay_alerts{self, service=~"$service"})`, "{{alertname}} {{state}}"}}, steps, noValue("no alerts")),
		lines("Open incidents by severity", "Incidents of this service that are not resolved.", "short", 12, []query{{`sum by (severity) (belay_incidents_open{service})`, "{{severity}}"}}, steps),
		lines("Deployments by result", "Deployments that ended in each step.", "short", 8, []query{{`sum by (result) (increase(belay_deployments_total{service}[$__rate_interval]))`, "{{result}}"}}, bars),
		lines("Incidents by severity", "Incidents that were opened in each step.", "short", 8, []query{{`sum by (severity) (increase(belay_incidents_total{service}[$__rate_interval]))`, "{{severity}}"}}, bars),
		lines("Rollbacks by result", "Rollbacks that ended in each step.", "short", 8, []query{{`sum by (mode, result) (increase(belay_rollbacks_total{service}[$__rate_interval]))`, "{{mode}} {{result}}"}}, bars),
		lines("Time to recover", "From the opening of an incident until the service was well again; a gap where no incident ended.", "s", 12, []query{
			{`histogram_quantile(0.5, sum by (le) (rate(belay_recovery_seconds_bucket{service}[$__rate_interval])))`, "half were shorter"},
			{`histogram_quantile(0.9, sum by (le) (rate(belay_recovery_seconds_bucket{service}[$__rate_interval])))`, "nine of ten were shorter"},
		}, func(p *panel) { p.FieldConfig.Defaults.Custom["drawStyle"] = "points" }, noValue("no incident ended")),
		newPanel("bargauge", "Recoveries by length", "How many incidents of the time range took at most so long, in seconds.", "short", 12, 8,
			[]query{{`sum by (le) (increase(belay_recovery_seconds_bucket{service}[$__range]))`, "{{le}}"}}, instant, func(p *panel) {
				p.Targets[0].Format = "heatmap"
				p.Options["displayMode"], p.Options["orientation"] = "basic", "horizontal"
				p.Options["reduceOptions"] = map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
			}),
	}
}

func belayItself() []panel {
	return []panel{
		row("Belay itself"),
		lines("From sample to alert", "From the newest sample behind a firing alert to its place in the journal.", "s", 8, quantiles("belay_detection_delay_seconds"), noValue("nothing fired")),
		lines("Rules wait for their turn", "From the commit of samples to the start of the evaluation that reads them.", "s", 8, quantiles("belay_rule_evaluation_lag_seconds")),
		lines("Rules, time to evaluate", "How long one evaluation of a group takes; 99 % are faster.", "s", 8,
			[]query{{`histogram_quantile(0.99, sum by (le, group) (rate(belay_rule_evaluation_duration_seconds_bucket{self}[$__rate_interval])))`, "{{group}}"}}),
		lines("Scrapes, time to answer", "How long the scrapes of targets take, failed ones included.", "s", 8, quantiles("belay_scrape_duration_seconds")),
		lines("Journal, time to write", "How long it takes until events are safely on disk. Nothing acts while the journal cannot be written.", "s", 8, quantiles("belay_journal_append_duration_seconds")),
		lines("Samples stored", "Samples that scrapes and recording rules stored, per second.", "cps", 8, []query{{`sum by (instance) (rate(belay_samples_appended_total{self}[$__rate_interval]))`, "{{instance}}"}}),
		lines("Messages sent", "Attempts to put a message before people, per second, by receiver and result.", "cps", 8,
			[]query{{`sum by (receiver, result) (rate(belay_notifications_total{self}[$__rate_interval]))`, "{{receiver}} {{result}}"}}, noValue("nothing was sent")),
		lines("Messages waiting", "Messages that wait to be delivered.", "short", 8, []query{{`sum by (instance) (belay_outbox_depth{self})`, "{{instance}}"}}, steps),
		lines("Oldest message waiting", "Age of the oldest message that waits to be delivered.", "s", 8, []query{{`max by (instance) (belay_outbox_oldest_seconds{self})`, "{{instance}}"}}),
	}
}
