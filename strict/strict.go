// Package strict reads YAML without mercy and with kind words: an unknown key,
// a wrong type or a bad value is a Problem with file, line, what is wrong and
// what is allowed, and all of them are found at once.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A Problem is one thing that is wrong with a file.
type Problem struct {
	File    string
	Line    int // from 1; 0 when the whole file is meant
	What    string
	Allowed string // empty when there is nothing to choose from
}

// Error returns "file:line: what is wrong; allowed: what is allowed".
func (p Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	s += ": " + p.What
	if p.Allowed != "" {
		s += "; allowed: " + p.Allowed
	}
	return s
}

// Problems are all that is wrong. A nil Problems is good news.
type Problems []Problem

// Error returns one line for each problem, sorted by file and line.
func (ps Problems) Error() string {
	sorted := slices.Clone(ps)
	sort.SliceStable(sorted, func(i, j int) bool {
		if sorted[i].File != sorted[j].File {
			return sorted[i].File < sorted[j].File
		}
		return sorted[i].Line < sorted[j].Line
	})
	lines := make([]string, len(sorted))
	for i, p := range sorted {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems as an error, nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// A Doc is a parsed YAML file that remembers where everything stood.
type Doc struct {
	File  string
	text  []byte
	lines int        // of the text
	root  *yaml.Node // the top-level mapping; nil for an empty file
}

// Parse reads a file of one YAML document whose top is a mapping.
func Parse(file string, text []byte) (*Doc, Problems) {
	d := &Doc{File: file, text: text, lines: bytes.Count(text, []byte("\n")) + 1}
	if p := d.unreadable(); p != nil {
		return d, Problems{*p}
	}
	var node yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&node); err != nil {
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		return d, d.fromYAML(err, nil, nil, nil)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return d, Problems{{file, second.Line, "a second YAML document in the same file", "one document"}}
	}
	root := node.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return d, nil // comments, or "---", and nothing else
	}
	if root.Kind != yaml.MappingNode {
		return d, Problems{{file, root.Line, "the file is not a mapping of keys to values", "key: value"}}
	}
	if err := unfolds(root); err != nil {
		return d, Problems{{file, root.Line, err.Error(), "the values themselves"}}
	}
	if ps := d.twice(root); len(ps) > 0 {
		return d, ps
	}
	d.root = root
	return d, nil
}

// twice finds the keys of the top level that stand twice; those below are found
// when they are read.
func (d *Doc) twice(root *yaml.Node) Problems {
	var ps Problems
	first := map[string]int{}
	for i := 0; i < len(root.Content); i += 2 {
		key := root.Content[i]
		if line, ok := first[key.Value]; ok {
			ps = append(ps, Problem{d.File, key.Line, fmt.Sprintf("the key %q stands twice; first in line %d", key.Value, line), "each key once"})
			continue
		}
		first[key.Value] = key.Line
	}
	return ps
}

// Keys returns the top-level keys in their order.
func (d *Doc) Keys() []string {
	var keys []string
	if d.root != nil {
		for i := 0; i < len(d.root.Content); i += 2 {
			keys = append(keys, d.root.Content[i].Value)
		}
	}
	return keys
}

// Has reports whether something stands at the path.
func (d *Doc) Has(path ...any) bool {
	_, ok := d.find(path)
	return ok
}

// Line returns the line of the key or element at the path (strings are keys,
// ints are indexes), or of its nearest parent that exists.
func (d *Doc) Line(path ...any) int {
	at, _ := d.find(path)
	return at.line
}

// At makes a problem with the line of the path.
func (d *Doc) At(what, allowed string, path ...any) Problem {
	return Problem{d.File, d.Line(path...), what, allowed}
}

// A place is where a node stands: its own line or its key's, and the last line
// before the next thing.
type place struct {
	node       *yaml.Node
	line, last int
}

// find returns the place of the path, or that of its nearest parent.
func (d *Doc) find(path []any) (place, bool) {
	if d.root == nil {
		return place{}, false
	}
	at := place{node: d.root, line: d.root.Line, last: d.lines}
	for _, step := range path {
		child, ok := at.descend(step)
		if !ok {
			return at, false
		}
		at = child
	}
	return at, true
}

// descend returns the place of a key's value, or of an element.
func (at place) descend(step any) (place, bool) {
	node := at.node
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	width := 1
	i := -1
	switch s := step.(type) {
	case string:
		width = 2
		for k := 0; node.Kind == yaml.MappingNode && k < len(node.Content); k += 2 {
			if node.Content[k].Value == s {
				i = k
				break
			}
		}
	case int:
		if node.Kind == yaml.SequenceNode && s < len(node.Content) {
			i = s
		}
	}
	if i < 0 {
		return place{}, false
	}
	out := place{node: node.Content[i+width-1], line: node.Content[i].Line, last: at.last}
	if i+width < len(node.Content) {
		out.last = max(out.line, node.Content[i+width].Line-1)
	}
	return out, true
}

// Decode reads what stands at the path into out, a pointer. Unknown keys and
// wrong types are problems. A path where nothing stands leaves out alone.
func (d *Doc) Decode(out any, path ...any) Problems {
	at, ok := d.find(path)
	if !ok || at.node.Tag == "!!null" {
		return nil
	}
	node := at.node
	text, lines := d.only(at), map[int]int(nil)
	if !whole(node) || node.Kind != yaml.ScalarNode && node.Style&yaml.FlowStyle != 0 {
		var err error
		if text, lines, err = written(node); err != nil {
			return Problems{{d.File, at.line, err.Error(), "the values themselves"}}
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(out); err != nil && !errors.Is(err, io.EOF) {
		if found := d.blame(node, reflect.TypeOf(out)); !positioned(err) && len(found) > 0 {
			return found
		}
		return d.fromYAML(err, node, reflect.TypeOf(out), lines)
	}
	return nil
}

// positioned says whether a YAML error names its line. Those of types that
// read themselves do not.
func positioned(err error) bool {
	var te *yaml.TypeError
	return errors.As(err, &te) || strings.Contains(err.Error(), "line ")
}

type reads interface{ UnmarshalYAML(func(any) error) error }

var (
	readsNode = reflect.TypeFor[yaml.Unmarshaler]()
	readsFunc = reflect.TypeFor[reads]()
)

// blame finds the values that types which read themselves do not take, with
// their lines.
func (d *Doc) blame(n *yaml.Node, t reflect.Type) Problems {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if p := reflect.PointerTo(t); p.Implements(readsNode) || p.Implements(readsFunc) {
		if below := d.blameBelow(n, t); len(below) > 0 {
			return below
		}
		if err := n.Decode(reflect.New(t).Interface()); err != nil && !positioned(err) {
			return Problems{selfRead(d.File, n, err)}
		}
		return nil
	}
	return d.blameBelow(n, t)
}

func (d *Doc) blameBelow(n *yaml.Node, t reflect.Type) Problems {
	var ps Problems
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, c := range n.Content {
			ps = append(ps, d.blame(c, t.Elem())...)
		}
	case n.Kind == yaml.MappingNode && (t.Kind() == reflect.Map || t.Kind() == reflect.Struct):
		for i := 0; i+1 < len(n.Content); i += 2 {
			if ft := FieldType(t, n.Content[i].Value); ft != nil {
				ps = append(ps, d.blame(n.Content[i+1], ft)...)
			}
		}
	}
	return ps
}

const aDuration = "a duration such as 30s, 5m or 1h30m"

func selfRead(file string, n *yaml.Node, err error) Problem {
	p := Problem{File: file, Line: n.Line, What: err.Error()}
	if strings.Contains(p.What, "duration") {
		p.What, p.Allowed = fmt.Sprintf("%q is not a duration", n.Value), aDuration
	}
	for _, w := range []struct{ has, allowed string }{
		{"valid month", "january to december, 1 to 12, or a range such as 3:5"},
		{"valid weekday", "sunday to saturday, or a range such as monday:friday"},
		{"time string", "start_time and end_time, such as 09:00 and 17:00"},
		{"day", "1 to 31, -1 to -31, or a range such as 1:7"},
	} {
		if p.Allowed == "" && strings.Contains(p.What, w.has) {
			p.Allowed = w.allowed
		}
	}
	return p
}

// FieldType returns the type of what a key of a struct or map holds, nil if it
// has no such key.
func FieldType(t reflect.Type, key string) reflect.Type {
	if t.Kind() == reflect.Map {
		return t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if strings.Contains(opts, "inline") && f.Type.Kind() == reflect.Struct {
			if ft := FieldType(f.Type, key); ft != nil {
				return ft
			}
		}
		if name == key || name == "" && strings.ToLower(f.Name) == key {
			return f.Type
		}
	}
	return nil
}

// Only returns the text of the file with every line blanked that does not
// belong to one of the top-level keys, so that another parser's line numbers
// stay true.
func (d *Doc) Only(keys ...string) []byte {
	lines := bytes.SplitAfter(d.text, []byte("\n"))
	keep := make([]bool, len(lines))
	for i := 0; d.root != nil && i < len(d.root.Content); i += 2 {
		if !slices.Contains(keys, d.root.Content[i].Value) {
			continue
		}
		end := len(lines)
		if i+2 < len(d.root.Content) {
			end = d.root.Content[i+2].Line - 1
		}
		for l := d.root.Content[i].Line - 1; l < end && l < len(lines); l++ {
			keep[l] = true
		}
	}
	var out bytes.Buffer
	for i, l := range lines {
		if keep[i] {
			out.Write(l)
		} else {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// Without returns the file without those keys of the mapping at the path that
// drop names. Everything else stays in its line.
func (d *Doc) Without(drop func(key string) bool, path ...any) *Doc {
	at, ok := d.find(path)
	if !ok || at.node.Kind != yaml.MappingNode || len(path) == 0 {
		return d
	}
	lines := bytes.SplitAfter(d.text, []byte("\n"))
	blank := func(from, to int) { // lines from 1, to not included
		for i := max(from, 1); i < to && i <= len(lines); i++ {
			lines[i-1] = []byte("\n")
		}
	}
	kept := *at.node
	kept.Content = nil
	for i := 0; i+1 < len(at.node.Content); i += 2 {
		if key := at.node.Content[i]; !drop(key.Value) {
			kept.Content = append(kept.Content, key, at.node.Content[i+1])
			continue
		}
		end := at.last + 1
		if i+2 < len(at.node.Content) {
			end = at.node.Content[i+2].Line
		}
		if at.node.Style&yaml.FlowStyle == 0 {
			blank(at.node.Content[i].Line, end)
		}
	}
	if len(kept.Content) == len(at.node.Content) {
		return d
	}
	if at.node.Style&yaml.FlowStyle != 0 || len(kept.Content) == 0 {
		kept.Style = yaml.FlowStyle
		if key, isKey := path[len(path)-1].(string); isKey && len(path) == 1 {
			blank(at.line, at.last+1)
			lines[at.line-1] = append([]byte(key+": "), append(oneLine(&kept), '\n')...)
		}
	}
	out, ps := Parse(d.File, bytes.Join(lines, nil))
	if len(ps) > 0 {
		return d
	}
	return out
}

// oneLine writes a node in one line, its comments left out.
func oneLine(n *yaml.Node) []byte {
	switch n.Kind {
	case yaml.AliasNode:
		return oneLine(n.Alias)
	case yaml.MappingNode:
		parts := make([][]byte, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, append(append(oneLine(n.Content[i]), ": "...), oneLine(n.Content[i+1])...))
		}
		return append(append([]byte("{"), bytes.Join(parts, []byte(", "))...), '}')
	case yaml.SequenceNode:
		parts := make([][]byte, 0, len(n.Content))
		for _, c := range n.Content {
			parts = append(parts, oneLine(c))
		}
		return append(append([]byte("["), bytes.Join(parts, []byte(", "))...), ']')
	}
	if n.Tag == "!!str" {
		return []byte(strconv.Quote(n.Value))
	}
	return []byte(n.Value)
}

// only returns the text of a node alone, its lines where they were: yaml.v3's
// Node.Decode knows no strict mode.
func (d *Doc) only(at place) []byte {
	node := at.node
	if node == d.root {
		return d.text
	}
	lines := bytes.SplitAfter(d.text, []byte("\n"))
	var out bytes.Buffer
	out.Write(bytes.Repeat([]byte("\n"), node.Line-1))
	block := node.Style&yaml.FlowStyle == 0 && (node.Kind == yaml.MappingNode || node.Kind == yaml.SequenceNode)
	if !block {
		if b, err := yaml.Marshal(node); err == nil {
			out.Write(b)
		}
		return out.Bytes()
	}
	first := lines[node.Line-1]
	out.Write(bytes.Repeat([]byte(" "), node.Column-1)) // "- " or "key: " that stands before it
	out.Write(first[min(node.Column-1, len(first)):])
	for _, l := range lines[node.Line:min(at.last, len(lines))] {
		out.Write(l)
	}
	return out.Bytes()
}

var (
	atLine       = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	unknownField = regexp.MustCompile(`^field (\S+) not found in type ((?s).+)$`)
	wrongType    = regexp.MustCompile("^cannot unmarshal (\\S+)(?: `((?s).*)`)? into ((?s).+)$")
	noAnchor     = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	keyTwice     = regexp.MustCompile(`^mapping key "?(.*?)"? already defined at line (\d+)$`)
)

// fromYAML puts what YAML says into kinder words. lines, unless nil, are those
// of the file for the lines of the text that was read.
func (d *Doc) fromYAML(err error, node *yaml.Node, out reflect.Type, lines map[int]int) Problems {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return Problems{d.problem(err.Error(), nil, nil, lines)}
	}
	ps := make(Problems, 0, len(te.Errors))
	for _, msg := range te.Errors {
		ps = append(ps, d.problem(msg, node, out, lines))
	}
	return ps
}

func (d *Doc) problem(msg string, node *yaml.Node, out reflect.Type, lines map[int]int) Problem {
	p := Problem{File: d.File, What: strings.TrimPrefix(msg, "yaml: ")}
	if m := atLine.FindStringSubmatch(msg); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		if lines != nil {
			p.Line = lines[p.Line]
		}
		p.What = m[2]
	}
	if m := unknownField.FindStringSubmatch(p.What); m != nil {
		p.What = fmt.Sprintf("unknown key %q", m[1])
		t := typeAt(node, out, p.Line, m[1])
		if t == nil {
			t = findType(out, m[2], map[reflect.Type]bool{})
		}
		p.Allowed = strings.Join(KeysOf(t), ", ")
	} else if m := wrongType.FindStringSubmatch(p.What); m != nil {
		wanted, allowed := plainType(m[3], findType(out, m[3], map[reflect.Type]bool{}) != nil)
		p.What, p.Allowed = fmt.Sprintf("%q is not %s", m[2], wanted), allowed
		if kind := map[string]string{"!!map": "mapping", "!!seq": "list"}[m[1]]; kind != "" {
			p.What = fmt.Sprintf("a %s stands where %s belongs", kind, wanted)
		}
	} else if m := keyTwice.FindStringSubmatch(p.What); m != nil {
		first, _ := strconv.Atoi(m[2])
		if lines != nil {
			first = lines[first]
		}
		p.What, p.Allowed = fmt.Sprintf("the key %q stands twice; first in line %d", m[1], first), "each key once"
	} else if node == nil {
		p = d.syntax(p)
	}
	return p
}

// syntax says in kinder words why a text is no YAML.
func (d *Doc) syntax(p Problem) Problem {
	if m := noAnchor.FindStringSubmatch(p.What); m != nil {
		before, _, _ := strings.Cut(string(d.text), "*"+m[1])
		p.Line, p.What, p.Allowed = 1+strings.Count(before, "\n"), fmt.Sprintf("no anchor is named %q", m[1]), "an anchor that stands above: &"+m[1]
		return p
	}
	p.Allowed = "YAML: key: value, lists with - or in [], the same indentation for what belongs together"
	lines := strings.SplitN(string(d.text), "\n", p.Line+2)
	for i := max(p.Line-1, 0); i < min(p.Line+1, len(lines)); i++ {
		if indent := lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " \t"))]; strings.Contains(indent, "\t") {
			p.Line, p.What, p.Allowed = i+1, "a tab indents the line", "spaces"
			return p
		}
	}
	p.Line, p.What = max(p.Line, 1), "the file is not YAML: "+p.What
	return p
}

const maxFile = 16 << 20

// unreadable says why a text is not worth parsing.
func (d *Doc) unreadable() *Problem {
	switch {
	case len(d.text) > maxFile:
		return &Problem{d.File, 1, fmt.Sprintf("the file is larger than %d MiB", maxFile>>20), "a configuration, which has kilobytes"}
	case !utf8.Valid(d.text):
		valid := 0
		for valid < len(d.text) {
			r, size := utf8.DecodeRune(d.text[valid:])
			if r == utf8.RuneError && size <= 1 {
				break
			}
			valid += size
		}
		return &Problem{d.File, 1 + bytes.Count(d.text[:valid], []byte("\n")), "the file is not text in UTF-8", "a text file, saved as UTF-8"}
	case bytes.IndexByte(d.text, 0) >= 0:
		return &Problem{d.File, 1 + bytes.Count(d.text[:bytes.IndexByte(d.text, 0)], []byte("\n")), "the file holds a NUL byte", "a text file, saved as UTF-8"}
	}
	return nil
}

// plainType says what a Go type is in YAML. aStruct tells that it is one.
func plainType(t string, aStruct bool) (wanted, allowed string) {
	switch {
	case strings.HasPrefix(t, "[]"):
		return "a list", "a list: [a, b], or a line with - for each element"
	case strings.HasPrefix(t, "map["), strings.HasPrefix(t, "struct"), aStruct:
		return "a mapping", "a mapping of keys to values"
	case strings.HasPrefix(t, "int"):
		return "a number", "a whole number"
	case strings.HasPrefix(t, "uint"):
		return "a number", "a whole number, 0 or more"
	case strings.HasPrefix(t, "float"):
		return "a number", "a number"
	case t == "time.Duration", t == "model.Duration":
		return "a duration", aDuration
	case t == "bool":
		return "true or false", "true, false"
	}
	return "a single value", "text or a number"
}

// KeysOf returns the YAML keys of a struct type, sorted.
func KeysOf(t reflect.Type) []string {
	var keys []string
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(opts, "inline"):
			keys = append(keys, KeysOf(f.Type)...)
		case name == "-" || !f.IsExported():
		case name == "":
			keys = append(keys, strings.ToLower(f.Name))
		default:
			keys = append(keys, name)
		}
	}
	sort.Strings(keys)
	return keys
}

// typeAt returns the struct type of the mapping in which a key stands at a
// line. Types that read themselves often do so by another type of another name.
func typeAt(n *yaml.Node, t reflect.Type, line int, key string) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n == nil || t == nil {
		return nil
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return typeAt(n.Alias, t, line, key)
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, c := range n.Content {
			if found := typeAt(c, t.Elem(), line, key); found != nil {
				return found
			}
		}
	case n.Kind == yaml.MappingNode && (t.Kind() == reflect.Map || t.Kind() == reflect.Struct):
		for i := 0; i+1 < len(n.Content); i += 2 {
			ft := FieldType(t, n.Content[i].Value)
			if ft == nil && t.Kind() == reflect.Struct && n.Content[i].Line == line && n.Content[i].Value == key {
				return t
			}
			if found := typeAt(n.Content[i+1], ft, line, key); found != nil {
				return found
			}
		}
	}
	return nil
}

// findType looks for a struct type by its printed name below t.
func findType(t reflect.Type, name string, seen map[reflect.Type]bool) reflect.Type {
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct || seen[t] {
		return nil
	}
	if t.String() == name {
		return t
	}
	seen[t] = true
	for i := range t.NumField() {
		if found := findType(t.Field(i).Type, name, seen); found != nil {
			return found
		}
	}
	return nil
}
