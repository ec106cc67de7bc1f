package dashboards_test

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// The rules of Grafana's dashboard-linter, which cannot be had as a module.
// Nothing is excluded.

// figures are the panels that owe a title, a description, a unit and a query.
var figures = []string{"stat", "gauge", "table", "timeseries", "bargauge", "state-timeline"}

// units are the units of Grafana that Belay's panels use.
var units = []string{"none", "short", "s", "percentunit", "cps", "dtdurations"}

func TestVariablesAreAsTheLinterWantsThem(t *testing.T) {
	values := regexp.MustCompile(`^label_values\((.+), [a-z_]+\)$`)
	for _, b := range boards(t) {
		if v := b.variable(t, "datasource"); v.Type != "datasource" || v.Label != "Data source" || v.Query != "prometheus" {
			t.Errorf("%s: datasource is %+v", b.UID, v)
		}
		for name, label := range map[string]string{"job": "Job", "instance": "Instance"} {
			v := b.variable(t, name)
			if v.Type != "query" || v.Datasource.UID != "${datasource}" || v.Label != label || !v.Multi || v.AllValue != ".+" {
				t.Errorf("%s: %s is %+v", b.UID, name, v)
			}
		}
		for _, v := range b.Templating.List {
			if v.Type != "query" {
				continue
			}
			if v.Refresh != 2 {
				t.Errorf("%s: %s does not follow the time range", b.UID, v.Name)
			}
			m := values.FindStringSubmatch(v.Definition)
			if m == nil {
				t.Errorf("%s: %s asks %q", b.UID, v.Name, v.Definition)
				continue
			}
			parse(t, b.UID+" variable "+v.Name, filled(m[1], "1m"))
		}
		if b.Editable == nil || *b.Editable {
			t.Errorf("%s can be edited, and would be lost with the next provisioning", b.UID)
		}
	}
}

func TestPanelsAreAsTheLinterWantsThem(t *testing.T) {
	for _, b := range boards(t) {
		titles := map[string]bool{}
		for _, p := range b.Panels {
			if p.Type == "row" {
				continue
			}
			where := b.UID + ", " + p.Title
			if !slices.Contains(figures, p.Type) {
				t.Errorf("%s: Grafana may not know a panel of type %q", where, p.Type)
			}
			if p.Title == "" || p.Description == "" || !strings.HasSuffix(p.Description, ".") {
				t.Errorf("%s: a panel needs a title, and a description in sentences: %q", where, p.Description)
			}
			if titles[p.Title] {
				t.Errorf("%s: two panels have this title", where)
			}
			titles[p.Title] = true
			if d := p.FieldConfig.Defaults; len(d.Mappings) == 0 && !slices.Contains(units, d.Unit) {
				t.Errorf("%s: unit %q", where, d.Unit)
			}
			if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %d targets over %q", where, len(p.Targets), p.Datasource.UID)
			}
			for _, tg := range p.Targets {
				if tg.Datasource.UID != "${datasource}" {
					t.Errorf("%s %s asks %q", where, tg.RefID, tg.Datasource.UID)
				}
			}
		}
	}
}

var (
	rateWindow   = regexp.MustCompile(`\bi?rate\([^\[]*\[([^\]]*)\]`)
	jobMatch     = `job=~"$job"`
	anyInstance  = `instance=~"$instance"`
	selectorText = regexp.MustCompile(`[a-z_]+\{[^}]*\}`)
)

func TestQueriesAreAsTheLinterWantsThem(t *testing.T) {
	for _, b := range boards(t) {
		for _, q := range b.questions() {
			expr := parse(t, q.where, filled(q.expr, "1m"))
			for _, m := range rateWindow.FindAllStringSubmatch(q.expr, -1) {
				if m[1] != "$__rate_interval" {
					t.Errorf("%s: a rate over %s", q.where, m[1])
				}
			}
			selectors := selectorText.FindAllString(q.expr, -1)
			for _, s := range selectors {
				if !strings.Contains(s, jobMatch) || !strings.Contains(s, anyInstance) {
					t.Errorf("%s: %s asks every job or instance", q.where, s)
				}
			}
			seen := 0
			parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
				if v, ok := node.(*parser.VectorSelector); ok {
					seen++
					if counted(v.Name) && !within(path) {
						t.Errorf("%s: the counter %s outside of rate and increase", q.where, v.Name)
					}
				}
				return nil
			})
			if seen != len(selectors) {
				t.Errorf("%s: %d selectors, %d with matchers", q.where, seen, len(selectors))
			}
		}
	}
}

func counted(name string) bool {
	return strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_bucket")
}

// within says whether a call that takes counters stands above a node.
func within(path []parser.Node) bool {
	return slices.ContainsFunc(path, func(n parser.Node) bool {
		c, ok := n.(*parser.Call)
		return ok && slices.Contains([]string{"rate", "irate", "increase"}, c.Func.Name)
	})
}

func parse(t *testing.T, where, expr string) parser.Expr {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v\n%s", where, err, expr)
	}
	return e
}

func TestPanelsStandBesideEachOther(t *testing.T) {
	uids := map[string]bool{}
	for _, b := range boards(t) {
		if uids[b.UID] || len(b.UID) > 40 || b.SchemaVersion < 39 {
			t.Errorf("uid %s, schema %d", b.UID, b.SchemaVersion)
		}
		uids[b.UID] = true
		ids, taken := map[int]string{}, map[[2]int]string{}
		for _, p := range b.Panels {
			if p.ID == 0 || ids[p.ID] != "" {
				t.Errorf("%s: %s has the id %d, as %q has", b.UID, p.Title, p.ID, ids[p.ID])
			}
			ids[p.ID] = p.Title
			g := p.GridPos
			if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s: %s stands at %+v of 24 columns", b.UID, p.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s: %s lies over %s", b.UID, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

// TestLinksLeadSomewhere follows links between dashboards, into Belay and into
// the repository.
func TestLinksLeadSomewhere(t *testing.T) {
	all := boards(t)
	for _, b := range all {
		links := b.Links
		for _, p := range b.Panels {
			links = append(links, p.FieldConfig.Defaults.Links...)
		}
		for _, l := range links {
			at, pages := strings.CutPrefix(l.URL, "${belay}")
			to, dash := strings.CutPrefix(l.URL, "/d/")
			file, repo := strings.CutPrefix(l.URL, "https://github.com/belaydev/belay/tree/main/")
			switch {
			case pages:
				b.variable(t, "belay")
				if at != "" && !strings.HasPrefix(at, "/services/") {
					t.Errorf("%s: Belay has no page %s", b.UID, at)
				}
			case dash:
				wantDashboard(t, all, to)
			case repo:
				if _, err := os.Stat("../" + file); err != nil {
					t.Errorf("%s: %v", b.UID, err)
				}
			default:
				t.Errorf("%s: who knows %s", b.UID, l.URL)
			}
		}
	}
}

// wantDashboard wants the dashboard that a link leads to, with the variables
// that the link sets.
func wantDashboard(t *testing.T, all []board, to string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Error(err)
		return
	}
	i := slices.IndexFunc(all, func(b board) bool { return b.UID == u.Path })
	if i < 0 {
		t.Errorf("there is no dashboard %s", to)
		return
	}
	for key := range u.Query() {
		if name, ok := strings.CutPrefix(key, "var-"); ok {
			all[i].variable(t, name)
		}
	}
}
