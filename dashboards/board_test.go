package dashboards_test

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
)

// A board is a dashboard as Grafana reads it: from the JSON, not from the
// structs that made it.
type board struct {
	UID           string
	Title         string
	Editable      *bool
	SchemaVersion int
	Links         []boardLink
	Annotations   struct{ List []boardAnnotation }
	Templating    struct{ List []boardVariable }
	Panels        []boardPanel
}

type boardLink struct{ Title, Type, URL string }

type boardRef struct{ Type, UID string }

type boardAnnotation struct {
	Name, Expr, Step, TextFormat string
	Datasource                   boardRef
	BuiltIn                      int
	UseValueForTime              bool
}

type boardVariable struct {
	Name, Label, Type, AllValue, Definition string
	Query                                   any
	Datasource                              boardRef
	Refresh                                 int
	Multi, IncludeAll                       bool
	Current                                 struct{ Value any }
}

type boardPanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               boardRef
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []boardTarget
	FieldConfig              struct {
		Defaults struct {
			Unit     string
			NoValue  string
			Mappings []any
			Links    []boardLink
		}
	}
	Panels []boardPanel
}

type boardTarget struct {
	RefID, Expr, LegendFormat string
	Datasource                boardRef
	Instant                   bool
}

// boards reads the dashboards.
func boards(t *testing.T) []board {
	t.Helper()
	var out []board
	for file, text := range made(t) {
		if path.Ext(file) != ".json" {
			continue
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if path.Base(file) != b.UID+".json" {
			t.Errorf("%s holds the dashboard %s", file, b.UID)
		}
		out = append(out, b)
	}
	if len(out) != 2 {
		t.Fatalf("%d dashboards", len(out))
	}
	return out
}

func (b board) variable(t *testing.T, name string) boardVariable {
	t.Helper()
	for _, v := range b.Templating.List {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("%s has no variable %s", b.UID, name)
	return boardVariable{}
}

// A question is one PromQL expression and where it stands.
type question struct {
	where, expr, legend string
	instant             bool
}

// questions are all expressions of the dashboard: of panels and of markers.
func (b board) questions() []question {
	var out []question
	for _, p := range b.Panels {
		for _, tg := range p.Targets {
			out = append(out, question{b.UID + ", panel " + p.Title + ", " + tg.RefID, tg.Expr, tg.LegendFormat, tg.Instant})
		}
	}
	for _, a := range b.Annotations.List {
		if a.Expr != "" {
			out = append(out, question{b.UID + ", marker " + a.Name, a.Expr, a.TextFormat, false})
		}
	}
	return out
}

// filled puts values where Grafana does.
func filled(expr, window string) string {
	return strings.NewReplacer(
		"$__rate_interval", "4s", "$__interval", "1s", "$__range", window,
		"$job", ".+", "$instance", ".+", "$environment", "production", "$service", "checkout",
	).Replace(expr)
}
