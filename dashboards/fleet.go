package dashboards

// fleet shows all services: what needs people now, what happened, and how well
// changes go.
func fleet() dashboard {
	d := newDashboard(FleetUID, "Belay / Fleet", "All services that Belay watches: what needs people now, what was done, and how well changes go.")
	d.Templating.List = append(d.Templating.List, many("environment", "Environment", `label_values(belay_service_info{job=~"$job", instance=~"$instance"}, environment)`), belayURL())
	d.Links = append(d.Links, link{Title: "One service", Type: "link", URL: "/d/" + ServiceUID, Icon: "dashboard", KeepTime: true, IncludeVars: true})
	d.Annotations.List = markers("fleet")
	panels := append(fleetNow(), fleetHistory()...)
	d.Panels = layout(append(panels, fleetDelivery()...)...)
	return d
}

func fleetNow() []panel {
	return []panel{
		stat("Open incidents", "Incidents that are not resolved.", "short", `sum(belay_incidents_open{fleet})`, badFrom(1, "red")),
		stat("Firing alerts", "Alerts that fire now, of any service.", "short", `sum(belay_alerts{self, state="firing"}) or vector(0)`, badFrom(1, "red")),
		stat("Services not healthy", "Services that are pending, unknown, in an incident or being rolled back.", "short", `sum(belay_service_state{fleet, state!="healthy"})`, badFrom(1, "orange")),
		stat("Rolled back", "Services that run what a rollback of Belay put there. They wait for a release that is well.", "short", `sum(belay_rolled_back{fleet})`, badFrom(1, "orange")),
		stat("Held revisions", "Revisions that are held back because an incident was attributed to them.", "short", `sum(belay_revision_held{fleet}) or vector(0)`, badFrom(1, "orange")),
		stat("Messages waiting", "Messages that wait to be delivered to people.", "short", `sum(belay_outbox_depth{self})`, badFrom(10, "orange")),
		timeline("Services", "The state of each service over time. Follow a bar to its service.", 10, "fleet"),
	}
}

func fleetHistory() []panel {
	running := newPanel("table", "What runs", "The revision and version of each service as its platform reports it.", "none", 12, 9,
		[]query{{`max by (environment, service, version, revision, platform) (belay_service_info{fleet})`, ""}}, instant, func(p *panel) {
			p.Targets[0].Format = "table"
			p.Transformations = []transformation{{ID: "organize", Options: map[string]any{
				"excludeByName": map[string]any{"Time": true, "Value": true},
				"indexByName":   map[string]any{"environment": 0, "service": 1, "version": 2, "revision": 3, "platform": 4},
			}}}
		})
	held := newPanel("table", "What is held", "Revisions that Belay does not restore, and that it would roll back again. `belay rollback release` ends a hold.", "none", 12, 9,
		[]query{{`max by (environment, service, revision) (belay_revision_held{fleet})`, ""}}, instant, noValue("none is held"), func(p *panel) {
			p.Targets[0].Format = "table"
			p.Transformations = []transformation{{ID: "organize", Options: map[string]any{"excludeByName": map[string]any{"Time": true, "Value": true}}}}
		})
	return []panel{
		lines("Open incidents by service", "Incidents that are not resolved.", "short", 12, []query{{`sum by (environment, service, severity) (belay_incidents_open{fleet})`, "{{environment}} / {{service}} {{severity}}"}}, steps),
		lines("Alerts by state", "Alerts that are pending or firing.", "short", 12, []query{{`sum by (state) (belay_alerts{self})`, "{{state}}"}}, steps, noValue("no alerts")),
		running, held,
	}
}

func fleetDelivery() []panel {
	const changes = `(sum(increase(belay_deployments_total{fleet}[$__range])) - sum(increase(belay_rollbacks_total{fleet, result=~"recovered|not_recovered"}[$__range])))`
	return []panel{
		row("Delivery, in the time range shown"),
		stat("Deployments", "Deployments that ended, the ones that rollbacks made included.", "short", `sum(increase(belay_deployments_total{fleet}[$__range]))`),
		stat("Incidents", "Incidents that were opened.", "short", `sum(increase(belay_incidents_total{fleet}[$__range]))`),
		stat("Rollbacks", "Rollbacks that ended, whatever their result.", "short", `sum(increase(belay_rollbacks_total{fleet}[$__range]))`),
		stat("Change failure ratio", "Deployments that failed or were rolled back, of those that people made: a deployment made by a rollback is not counted as a change.", "percentunit",
			`sum(increase(belay_deployments_total{fleet, result=~"failed|rolled_back"}[$__range])) / (`+changes+` > 0)`, badFrom(0.15, "orange"), noValue("no changes")),
		stat("Recovery, median", "Half of the incidents were over for the service this soon after they were opened.", "s", recoveryQuantile("0.5", "fleet"), noValue("no incidents")),
		stat("Recovery, 90 %", "Nine of ten incidents were over for the service this soon after they were opened.", "s", recoveryQuantile("0.9", "fleet"), noValue("no incidents")),
		lines("Deployments by result", "Deployments that ended in each step.", "short", 8, []query{{`sum by (result) (increase(belay_deployments_total{fleet}[$__rate_interval]))`, "{{result}}"}}, bars),
		lines("Incidents by severity", "Incidents that were opened in each step.", "short", 8, []query{{`sum by (severity) (increase(belay_incidents_total{fleet}[$__rate_interval]))`, "{{severity}}"}}, bars),
		lines("Rollbacks by result", "Rollbacks that ended in each step.", "short", 8, []query{{`sum by (result) (increase(belay_rollbacks_total{fleet}[$__rate_interval]))`, "{{result}}"}}, bars),
	}
}

func recoveryQuantile(q, match string) string {
	return "histogram_quantile(" + q + ", sum by (le) (increase(belay_recovery_seconds_bucket{" + match + "}[$__range])))"
}
