package dashboards

import (
	"strconv"
	"strings"
)

// The selectors that stand in expressions as {self}, {fleet} and {service}, with
// more matchers after a comma.
const (
	selfMatch    = `job=~"$job", instance=~"$instance"`
	fleetMatch   = selfMatch + `, environment=~"$environment"`
	serviceMatch = selfMatch + `, environment=~"$environment", service=~"$service"`
)

// promql fills the selectors in.
func promql(expr string) string {
	return strings.NewReplacer("{self", "{"+selfMatch, "{fleet", "{"+fleetMatch, "{service", "{"+serviceMatch).Replace(expr)
}

// A query is an expression and the legend of its series.
type query struct{ expr, legend string }

// A look says how a panel shows its series.
type look func(*panel)

// newPanel returns a panel over queries, w of 24 columns wide and h rows high.
// Where it stands is for layout to say.
func newPanel(kind, title, description, unit string, w, h int, queries []query, looks ...look) panel {
	p := panel{
		Type: kind, Title: title, Description: description, Datasource: &promRef, GridPos: gridPos{W: w, H: h},
		FieldConfig: &fieldConfig{Defaults: fieldDefaults{Unit: unit}, Overrides: []any{}},
		Options:     map[string]any{},
	}
	for i, q := range queries {
		p.Targets = append(p.Targets, target{
			RefID: string(rune('A' + i)), Datasource: promRef, Expr: promql(q.expr), LegendFormat: q.legend, Range: true,
		})
	}
	for _, l := range looks {
		l(&p)
	}
	return p
}

// stat is one figure, as it is now: six fit beside each other.
func stat(title, description, unit, expr string, looks ...look) panel {
	base := []look{instant, func(p *panel) {
		p.Options["reduceOptions"] = map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
		p.Options["colorMode"], p.Options["graphMode"], p.Options["textMode"] = "value", "none", "auto"
	}}
	return newPanel("stat", title, description, unit, 4, 4, []query{{expr: expr}}, append(base, looks...)...)
}

// lines is a time series panel.
func lines(title, description, unit string, w int, queries []query, looks ...look) panel {
	base := []look{func(p *panel) {
		zero := 0.0
		p.FieldConfig.Defaults.Min = &zero
		p.FieldConfig.Defaults.Custom = map[string]any{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "auto", "spanNulls": false}
		p.Options["legend"] = map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true}
		p.Options["tooltip"] = map[string]any{"mode": "multi", "sort": "desc"}
	}}
	return newPanel("timeseries", title, description, unit, w, 8, queries, append(base, looks...)...)
}

// bars draws what happened in each step, stacked.
func bars(p *panel) {
	p.FieldConfig.Defaults.Custom = map[string]any{
		"drawStyle": "bars", "lineWidth": 1, "fillOpacity": 80, "showPoints": "never",
		"stacking": map[string]any{"mode": "normal", "group": "A"},
	}
}

// steps draws levels that change at a moment.
func steps(p *panel) {
	p.FieldConfig.Defaults.Custom["lineInterpolation"] = "stepAfter"
}

func instant(p *panel) {
	for i := range p.Targets {
		p.Targets[i].Instant, p.Targets[i].Range = true, false
	}
}

// nameOnly shows the name of the series instead of its value.
func nameOnly(p *panel) {
	p.Options["textMode"], p.Options["colorMode"] = "name", "none"
}

// noValue is shown where there is no series at all.
func noValue(text string) look {
	return func(p *panel) { p.FieldConfig.Defaults.NoValue = text }
}

// badFrom turns a figure to a colour from a value on.
func badFrom(value float64, color string) look {
	return func(p *panel) {
		p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
		p.FieldConfig.Defaults.Thresholds = &thresholds{Mode: "absolute", Steps: []step{{Color: "green"}, {Color: color, Value: &value}}}
	}
}

// valueMap names the values 0, 1, 2…
func valueMap(texts ...mapped) look {
	return func(p *panel) {
		m := mapping{Type: "value", Options: map[string]mapped{}}
		for i, t := range texts {
			t.Index = i
			m.Options[strconv.Itoa(i)] = t
		}
		p.FieldConfig.Defaults.Mappings = []mapping{m}
		p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
	}
}

// stateNames are the states of a service in the order of stateExpr.
var stateNames = valueMap(
	mapped{Text: "healthy", Color: "green"}, mapped{Text: "pending", Color: "yellow"}, mapped{Text: "unknown", Color: "text"},
	mapped{Text: "incident", Color: "red"}, mapped{Text: "rolling back", Color: "purple"},
)

// stateExpr is the state of each service as a number: 0 healthy, 1 pending, 2
// unknown, 3 incident, 4 rolling back.
func stateExpr(match string) string {
	var terms []string
	for i, state := range []string{"healthy", "pending", "unknown", "incident", "rolling_back"} {
		terms = append(terms, strconv.Itoa(i)+` * belay_service_state{`+match+`, state="`+state+`"}`)
	}
	return "sum by (environment, service) (\n  " + strings.Join(terms, "\n  or ") + "\n)"
}

// timeline shows the state of services over time.
func timeline(title, description string, h int, match string) panel {
	return newPanel("state-timeline", title, description, "", 24, h, []query{{stateExpr(match), "{{environment}} / {{service}}"}}, stateNames, func(p *panel) {
		p.FieldConfig.Defaults.Custom = map[string]any{"fillOpacity": 80, "lineWidth": 0}
		p.FieldConfig.Defaults.Links = []link{
			{Title: "Look at this service", URL: "/d/" + ServiceUID + "?var-datasource=${datasource}&var-environment=${__field.labels.environment}&var-service=${__field.labels.service}&${__url_time_range}"},
			{Title: "Its page in Belay", URL: "${belay}/services/${__field.labels.environment}/${__field.labels.service}", TargetBlank: true},
		}
		p.Options["mergeValues"], p.Options["showValue"], p.Options["alignValue"], p.Options["rowHeight"] = true, "auto", "left", 0.9
		p.Options["legend"] = map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true}
	})
}

// row is a heading over what follows it.
func row(title string) panel {
	open := false
	return panel{Type: "row", Title: title, GridPos: gridPos{W: 24, H: 1}, Collapsed: &open}
}

// layout numbers the panels and places them from left to right, and in a new
// row where the last is full.
func layout(panels ...panel) []panel {
	x, y, high := 0, 0, 0
	for i := range panels {
		p := &panels[i]
		if x+p.GridPos.W > 24 {
			x, y, high = 0, y+high, 0
		}
		p.ID, p.GridPos.X, p.GridPos.Y = i+1, x, y
		x, high = x+p.GridPos.W, max(high, p.GridPos.H)
	}
	return panels
}

// quantiles asks a histogram for its median and its 99th percentile.
func quantiles(histogram string) []query {
	of := func(q string) string {
		return "histogram_quantile(" + q + ", sum by (le) (rate(" + histogram + "_bucket{self}[$__rate_interval])))"
	}
	return []query{{of("0.5"), "half are faster"}, {of("0.99"), "99 % are faster"}}
}
