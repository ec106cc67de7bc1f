package collector

import (
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"
	yaml3 "go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/strict"
)

// A raw is YAML that is not read yet. The zero raw stands for nothing, or null.
type raw struct{ read func(any) error }

// UnmarshalYAML keeps the reading for later.
func (r *raw) UnmarshalYAML(read func(any) error) error {
	r.read = read
	return nil
}

func (r raw) absent() bool { return r.read == nil }

// fields returns the values of a mapping by its known keys, and what YAML says
// of the other keys and of those set twice; ok tells that it is a mapping. A
// struct is read since a map would take merged keys for keys set twice.
func (r raw) fields(known map[string]field) (values map[string]raw, faults []string, ok bool) {
	if r.absent() {
		return nil, nil, false
	}
	names := sorted(known)
	fields := make([]reflect.StructField, len(names))
	for i, name := range names {
		fields[i] = reflect.StructField{Name: "F" + strconv.Itoa(i), Type: reflect.TypeFor[raw](), Tag: reflect.StructTag(`yaml:"` + name + `"`)}
	}
	read := reflect.New(reflect.StructOf(fields))
	if err := r.read(read.Interface()); err != nil {
		var te *yaml.TypeError
		if !errors.As(err, &te) {
			return nil, nil, false
		}
		faults = te.Errors
	}
	values = map[string]raw{}
	for i, name := range names {
		if v := read.Elem().Field(i).Interface().(raw); !v.absent() {
			values[name] = v
		}
	}
	for _, fault := range faults {
		if !unknownKey.MatchString(fault) && !setTwice.MatchString(fault) {
			return nil, nil, false
		}
	}
	return values, faults, true
}

// An inspector reads upstream's types and finds out what is wrong with each
// piece. Upstream's reading ends at the first value it refuses and often names
// no line; the inspector then reads what lies below, piece by piece.
type inspector struct {
	doc      *strict.Doc
	shifted  bool // lines in YAML errors are not those of the file
	problems strict.Problems
}

// inspect returns the top-level keys of the file. The whole text is read, so
// that anchors may stand anywhere.
func inspect(doc *strict.Doc) (*inspector, map[string]raw) {
	in := &inspector{doc: doc}
	var top map[string]raw
	err := yaml.UnmarshalStrict(doc.Only(doc.Keys()...), &top)
	if err == nil {
		return in, top
	}
	// One mapping in braces over several lines cannot be cut by lines.
	var node yaml3.Node
	if len(doc.Decode(&node)) == 0 {
		if text, merr := yaml3.Marshal(&node); merr == nil && yaml.UnmarshalStrict(text, &top) == nil {
			in.shifted = true
			return in, top
		}
	}
	in.wrong(err, reflect.TypeFor[map[string]raw](), nil)
	return in, top
}

// decode reads r into out, a pointer, and reports whether it could.
func (in *inspector) decode(r raw, out any, path ...any) bool {
	if r.absent() || r.read(out) == nil {
		return true
	}
	in.search(r, reflect.TypeOf(out).Elem(), path)
	return false
}

// search finds the smallest pieces below the path that cannot be read as t.
func (in *inspector) search(r raw, t reflect.Type, path []any) {
	if r.absent() {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	err := r.read(reflect.New(t).Interface())
	if err == nil {
		return
	}
	before := len(in.problems)
	known := keysOf(t)
	switch {
	case known != nil:
		in.searchKeys(r, known, path)
	case t.Kind() == reflect.Slice:
		var list []raw
		if r.read(&list) == nil {
			for i, elem := range list {
				in.search(elem, t.Elem(), below(path, i))
			}
		}
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		in.searchMap(r, t, path)
	}
	var te *yaml.TypeError
	switch {
	case len(in.problems) > before:
	case errors.As(err, &te):
		in.wrong(err, t, path)
	case t == reflect.TypeFor[config.ScrapeConfig]() && in.addresses(r, path):
	case known != nil:
		in.blame(err, known, path)
	default:
		in.wrong(err, t, path)
	}
}

func (in *inspector) searchKeys(r raw, known map[string]field, path []any) {
	values, faults, _ := r.fields(known)
	in.faults(faults, known, path)
	for _, key := range sorted(values) {
		in.search(values[key], known[key].typ, below(path, key))
	}
}

// faults adds the problems of keys as fields returns them.
func (in *inspector) faults(faults []string, known map[string]field, path []any) {
	for _, msg := range faults {
		if m := setTwice.FindStringSubmatch(msg); m != nil {
			in.add(in.lineOf(msg, below(path, m[1])), quote(m[1])+" is set twice", "once")
			continue
		}
		switch key := unknownKey.FindStringSubmatch(msg)[1]; {
		case notBuiltIn(key):
			in.at(quote(key)+" is not built in; use http_sd", discoveryKeys(), below(path, key)...)
		default:
			in.at("unknown key "+quote(key), strings.Join(sorted(known), ", "), below(path, key)...)
		}
	}
}

func (in *inspector) searchMap(r raw, t reflect.Type, path []any) {
	var keys map[string]raw
	if r.read(&keys) != nil {
		return
	}
	for _, key := range sorted(keys) {
		in.search(keys[key], t.Elem(), below(path, key))
		name := reflect.New(t.Key())
		reader, ok := name.Interface().(yaml.Unmarshaler)
		if !ok {
			continue
		}
		err := reader.UnmarshalYAML(func(out any) error {
			reflect.ValueOf(out).Elem().SetString(key)
			return nil
		})
		if err != nil {
			in.at(named(path, err.Error()), "text that is not empty", below(path, key)...)
		}
	}
}

// A field is how a struct holds a YAML key.
type field struct {
	typ  reflect.Type
	path []int // for FieldByIndex; nil for a key that upstream reads by other means
}

// keysOf returns the YAML keys of a struct that is read field by field, nil for
// every other type.
func keysOf(t reflect.Type) map[string]field {
	if t == reflect.TypeFor[targetgroup.Group]() {
		return map[string]field{"targets": {typ: reflect.TypeFor[[]string]()}, "labels": {typ: reflect.TypeFor[model.LabelSet]()}}
	}
	keys := map[string]field{}
	if !collect(t, nil, keys) || len(keys) == 0 {
		return nil
	}
	if t == reflect.TypeFor[config.ScrapeConfig]() {
		for key, list := range discoveries() {
			keys[key] = field{typ: list}
		}
	}
	return keys
}

// collect reports false when a struct is not read by its fields alone.
func collect(t reflect.Type, path []int, keys map[string]field) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case strings.Contains(options, "inline"):
			if !collect(f.Type, append(slices.Clip(path), i), keys) {
				return false
			}
		case name == "":
			return false
		default:
			keys[name] = field{f.Type, append(slices.Clip(path), i)}
		}
	}
	return true
}

var (
	position   = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?((?s).*)$`)
	setTwice   = regexp.MustCompile(`(?:key "|field )((?s).*?)"? already set in`)
	unknownKey = regexp.MustCompile(`field ((?s).*) not found in type `)
	wrongKind  = regexp.MustCompile("^cannot unmarshal (\\S+)(?: `((?s).*)`)? into (?s).+$")
)

// wrong adds the problem of a value that is not a t.
func (in *inspector) wrong(err error, t reflect.Type, path []any) {
	msgs := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		msgs = te.Errors
	}
	for _, msg := range msgs {
		what := position.FindStringSubmatch(msg)[2]
		if m := setTwice.FindStringSubmatch(what); m != nil {
			in.add(in.lineOf(msg, path), quote(m[1])+" is set twice", "once")
			continue
		}
		if m := wrongKind.FindStringSubmatch(what); m != nil {
			what = plainKind(m[1], m[2]) + " does not fit here"
		}
		in.add(in.lineOf(msg, path), named(path, what), allowed(t))
	}
}

// blame adds an error that upstream found in a whole mapping, at the line of
// the key that its words name first.
func (in *inspector) blame(err error, known map[string]field, path []any) {
	msg := position.FindStringSubmatch(err.Error())[2]
	words := strings.ReplaceAll(msg, " ", "_")
	first, blamed := len(words), ""
	for key := range known {
		i := strings.Index(words, key)
		if i < 0 || !in.doc.Has(below(path, key)...) {
			continue
		}
		if i < first || i == first && len(key) > len(blamed) {
			first, blamed = i, key
		}
	}
	if blamed != "" {
		path = below(path, blamed)
	}
	if msg == "job_name is empty" {
		in.at(msg, "a name for these targets, unlike every other", path...)
		return
	}
	in.at(msg, "", path...)
}

func (in *inspector) at(what, allowed string, path ...any) {
	if allowed == "" {
		allowed = wayOut(what)
	}
	in.problems = append(in.problems, in.doc.At(what, allowed, path...))
}

func (in *inspector) add(line int, what, allowed string) {
	if allowed == "" {
		allowed = wayOut(what)
	}
	in.problems = append(in.problems, strict.Problem{File: in.doc.File, Line: line, What: what, Allowed: allowed})
}

// lineOf prefers the line that a YAML error names to that of the path.
func (in *inspector) lineOf(msg string, path []any) int {
	if m := position.FindStringSubmatch(msg); m[1] != "" && !in.shifted {
		n, err := strconv.Atoi(m[1])
		if err == nil {
			return n
		}
	}
	return in.doc.Line(path...)
}

// named puts the last key of the path before a message.
func named(path []any, what string) string {
	for _, step := range slices.Backward(path) {
		if key, ok := step.(string); ok {
			return key + ": " + what
		}
	}
	return what
}

func plainKind(tag, value string) string {
	switch tag {
	case "!!map":
		return "a mapping"
	case "!!seq":
		return "a list"
	}
	return quote(value)
}

// allowed says in words what a value of the type looks like.
func allowed(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[model.Duration]():
		return "a number with a unit: ms, s, m, h, d, w or y"
	case reflect.TypeFor[units.Base2Bytes]():
		return "a size with a unit, such as 512KB or 64MB"
	case reflect.TypeFor[relabel.Regexp]():
		return "a regular expression (RE2)"
	case reflect.TypeFor[promconfig.URL]():
		return "a URL such as http://proxy.example.org:3128"
	case reflect.TypeFor[model.ValidationScheme]():
		return "utf8, legacy"
	case reflect.TypeFor[promconfig.TLSVersion]():
		return strings.Join(sorted(promconfig.TLSVersions), ", ")
	case reflect.TypeFor[relabel.Action]():
		return "replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true, false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a mapping of keys to values"
	case reflect.Float64:
		return "a number"
	case reflect.Uint, reflect.Uint64:
		return "a whole number, 0 or more"
	}
	return ""
}

func quote(s string) string { return `"` + s + `"` }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// below is the path one step further. It never shares memory with path.
func below(path []any, step any) []any { return append(slices.Clip(path), step) }
