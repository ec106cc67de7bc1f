package reference

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Tables returns a section of Markdown for each top-level key, with a row for
// each key below it: type, default, example and meaning. Of types that are not
// of the module the keys of one level have rows; what lies below is named.
func (d *Describer) Tables() string {
	var b strings.Builder
	for _, f := range d.fields(d.opts.Root) {
		fmt.Fprintf(&b, "## `%s`\n\n%s.\n\n", f.name, strings.ToUpper(f.doc[:min(1, len(f.doc))])+f.doc[min(1, len(f.doc)):])
		if f.typ.Kind() == reflect.Interface {
			continue
		}
		b.WriteString("| key | type | default | example | means |\n|---|---|---|---|---|\n")
		d.rows(&b, f, []string{f.name})
		b.WriteByte('\n')
	}
	return b.String()
}

// rows writes the row of a key, and those of the keys below it.
func (d *Describer) rows(b *strings.Builder, f field, path []string) {
	t, list := f.typ, false
	if t.Kind() == reflect.Slice && !d.self(t) {
		if elem := d.resolve(t.Elem()); elem.Kind() == reflect.Struct && !d.self(elem) {
			t, list = elem, true
		}
	}
	deep := t.Kind() == reflect.Struct && !d.self(t)
	if !deep || d.foreign(t) && len(path) > 1 {
		d.row(b, f, path)
		return
	}
	if list {
		path = append(slices.Clone(path[:len(path)-1]), path[len(path)-1]+"[]")
	}
	var inherited []string // keys of other people's types that stand among ours
	for _, below := range d.fields(t) {
		switch {
		case below.rest:
		case below.foreign && !d.foreign(t) && len(path) > 1:
			inherited = append(inherited, "`"+below.name+"`")
		default:
			d.rows(b, below, append(slices.Clone(path), below.name))
		}
	}
	if len(inherited) > 0 {
		fmt.Fprintf(b, "| `%s.…` | | | | as in Prometheus's HTTP client: %s |\n", strings.Join(path, "."), strings.Join(inherited, ", "))
	}
}

func (d *Describer) self(t reflect.Type) bool {
	_, ok := d.kind(t)
	return ok
}

func (d *Describer) row(b *strings.Builder, f field, path []string) {
	doc := f.doc
	if f.foreign {
		doc = "as in Prometheus"
		if strings.Contains(f.typ.PkgPath()+d.declared(path), "alertmanager") {
			doc = "as in Alertmanager"
		}
	}
	def := ""
	if f.def != nil {
		def = code(flow(f.def))
	}
	example := ""
	if n := d.example(path); n != nil {
		example = code(inline(n))
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", strings.Join(path, "."), d.words(f, true), def, example, escape(oneOf.ReplaceAllString(doc, "")))
}

// declared tells whose key a path of the file is.
func (d *Describer) declared(path []string) string {
	switch strings.TrimSuffix(path[0], "[]") {
	case "route", "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals", "templates":
		return "alertmanager"
	case "global":
		for _, f := range d.fields(d.opts.Root) {
			if f.name == "global" {
				return d.owner(f.typ, path[len(path)-1])
			}
		}
	}
	return ""
}

// owner returns the package of the inlined struct that has a key.
func (d *Describer) owner(t reflect.Type, key string) string {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() != reflect.Struct || !strings.Contains(f.Tag.Get("yaml"), "inline") {
			continue
		}
		for _, below := range d.fields(f.Type) {
			if below.name == key {
				return f.Type.PkgPath()
			}
		}
	}
	return ""
}

// words say what a value looks like.
func (d *Describer) words(f field, deep bool) string {
	if values := d.enum(f); len(values) > 0 {
		return "`" + strings.Join(values, "`, `") + "`"
	}
	t := d.resolve(f.typ)
	if k, ok := d.kind(t); ok {
		return k.Words
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "list of " + d.words(field{typ: d.resolve(t.Elem())}, deep)
	case reflect.Map:
		return "mapping to " + d.words(field{typ: d.resolve(t.Elem())}, deep)
	case reflect.Struct:
		var names []string
		for _, below := range d.fields(t) {
			if !below.rest {
				names = append(names, "`"+below.name+"`")
			}
		}
		if !deep || len(names) == 0 {
			return "mapping"
		}
		return "mapping: " + strings.Join(names, ", ")
	case reflect.Interface:
		return "anything"
	}
	return "number"
}

// example returns the first value that an example has at a path.
func (d *Describer) example(path []string) *yaml.Node {
	for _, top := range d.examples {
		if n := at(top, path); n != nil {
			return n
		}
	}
	return nil
}

func at(n *yaml.Node, path []string) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if len(path) == 0 {
		if n.Tag == "!!null" || len(n.Content) == 0 && n.Kind != yaml.ScalarNode {
			return nil
		}
		return n
	}
	key, list := strings.CutSuffix(path[0], "[]")
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != key {
			continue
		}
		if !list {
			return at(n.Content[i+1], path[1:])
		}
		for _, elem := range n.Content[i+1].Content {
			if found := at(elem, path[1:]); found != nil {
				return found
			}
		}
	}
	return nil
}

// inline writes a node in one line of YAML.
func inline(n *yaml.Node) string {
	switch n.Kind {
	case yaml.AliasNode:
		return inline(n.Alias)
	case yaml.MappingNode:
		var parts []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, n.Content[i].Value+": "+inline(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		var parts []string
		for _, c := range n.Content {
			parts = append(parts, inline(c))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return strconv.Quote(n.Value)
	}
	return n.Value
}

func flow(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return inline(&n)
}

const longest = 70 // bytes of a value that a table still holds

func code(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	if strings.Contains(s, "`") {
		return "`` " + escape(s) + " ``"
	}
	return "`" + escape(s) + "`"
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
