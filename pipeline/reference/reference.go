// Package reference describes the configuration file to people and to editors:
// as a page and as a JSON Schema, both made of the Go types that the file is
// read into and of the comments beside their fields. It runs when Belay is
// developed; what it writes is checked in.
package reference

import (
	"encoding"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Options say what a configuration is made of.
type Options struct {
	Root   reflect.Type // a struct with a field for each top-level key
	Module string       // path of the module whose types have comments to be read
	Dir    string       // of that module's source

	// Kinds are types that read themselves from something other than their
	// fields.
	Kinds map[reflect.Type]Kind
	// Stands are types in whose place others are described.
	Stands map[reflect.Type]reflect.Type
	// Speaks are types that have the comments of others.
	Speaks map[reflect.Type]reflect.Type
	// More are keys that a type reads and has no field for.
	More map[reflect.Type]map[string]reflect.Type
	// Refused are keys that no mapping may have although its type has a field.
	Refused []string
	// Required are keys that a type cannot do without.
	Required map[reflect.Type][]string
	// Single are types of which exactly one key is given.
	Single []reflect.Type
	// Defaults are values of struct types when nothing is given.
	Defaults map[reflect.Type]any
	// Examples are configurations that use the keys, the better ones first.
	Examples [][]byte
}

// A Kind is what a value looks like that is no plain mapping, list or scalar.
type Kind struct {
	Words  string // for people
	Schema map[string]any
}

// A Describer writes page and schema.
type Describer struct {
	opts     Options
	comments *comments
	examples []*yaml.Node
}

// New reads the comments and the examples.
func New(opts Options) (*Describer, error) {
	c, err := readComments(opts.Module, opts.Dir)
	if err != nil {
		return nil, err
	}
	d := &Describer{opts: opts, comments: c}
	for _, text := range opts.Examples {
		var n yaml.Node
		if err := yaml.Unmarshal(text, &n); err != nil {
			return nil, err
		}
		if len(n.Content) > 0 {
			d.examples = append(d.examples, n.Content[0])
		}
	}
	return d, nil
}

// A field is one key of a mapping.
type field struct {
	name    string
	typ     reflect.Type
	doc     string
	def     any  // when nothing is given; nil if that is nothing
	foreign bool // of a type that is not of the module
	rest    bool // stands for keys that the user names
}

// resolve returns the type that is described in the place of t.
func (d *Describer) resolve(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := d.opts.Stands[t]; ok {
		return s
	}
	return t
}

func (d *Describer) foreign(t reflect.Type) bool {
	return t.PkgPath() != "" && t.PkgPath() != d.opts.Module && !strings.HasPrefix(t.PkgPath(), d.opts.Module+"/")
}

// fields returns the keys of a struct type in the order of its fields, those of
// inlined structs among them.
func (d *Describer) fields(t reflect.Type) []field {
	var defaults reflect.Value
	if v, ok := d.opts.Defaults[t]; ok {
		defaults = reflect.ValueOf(v)
	}
	out := d.collect(t, defaults)
	for _, key := range sortedKeys(d.opts.More[t]) {
		out = append(out, field{name: key, typ: d.opts.More[t][key], foreign: true})
	}
	return out
}

func (d *Describer) collect(t reflect.Type, defaults reflect.Value) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		var value reflect.Value
		if defaults.IsValid() {
			value = defaults.Field(i)
		}
		switch {
		case name == "-" || !f.IsExported() || d.refused(name):
		case strings.Contains(opts, "inline") && f.Type.Kind() == reflect.Struct:
			if v, ok := d.opts.Defaults[f.Type]; ok && (!value.IsValid() || value.IsZero()) {
				value = reflect.ValueOf(v)
			}
			out = append(out, d.collect(f.Type, value)...)
		case strings.Contains(opts, "inline"):
			out = append(out, field{typ: f.Type.Elem(), rest: true})
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			doc, said := split(d.comments.of(d.speaker(t), f.Name))
			one := field{name: name, typ: d.resolve(f.Type), doc: doc, foreign: d.foreign(t), def: plain(value)}
			if one.def == nil && said != "" {
				one.def = said
			}
			out = append(out, one)
		}
	}
	return out
}

func (d *Describer) speaker(t reflect.Type) reflect.Type {
	if s, ok := d.opts.Speaks[t]; ok {
		return s
	}
	return t
}

func (d *Describer) refused(key string) bool {
	for _, r := range d.opts.Refused {
		if r == key {
			return true
		}
	}
	return false
}

// plain returns a value as a YAML file has it, nil for a zero one.
func plain(v reflect.Value) any {
	if !v.IsValid() || v.IsZero() || v.Kind() == reflect.Struct || v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		return nil
	}
	text, err := yaml.Marshal(v.Interface())
	if err != nil {
		return nil
	}
	var out any
	if yaml.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

var unlessGiven = regexp.MustCompile(`(?:^|[;,] )([^;,]*(?:\{[^}]*\})?) unless given(?:; )?`)

// split parts what a comment says of a key from the default that it names.
func split(doc string) (rest, def string) {
	m := unlessGiven.FindStringSubmatchIndex(doc)
	if m == nil {
		return doc, ""
	}
	return strings.Trim(doc[:m[0]]+"; "+doc[m[1]:], "; "), doc[m[2]:m[3]]
}

var oneOf = regexp.MustCompile(`(?:^|[;,.] ?)one of ([a-z0-9_]+(?:, [a-z0-9_]+)*)`)

// enum returns the values that are allowed, nil when there is no list of them.
func (d *Describer) enum(f field) []string {
	if m := oneOf.FindStringSubmatch(f.doc); m != nil {
		return strings.Split(m[1], ", ")
	}
	if f.typ.Kind() == reflect.String && !d.foreign(f.typ) {
		return d.comments.constants(f.typ)
	}
	return nil
}

var textual = reflect.TypeFor[encoding.TextUnmarshaler]()

// kind returns what a type that reads itself looks like.
func (d *Describer) kind(t reflect.Type) (Kind, bool) {
	if k, ok := d.opts.Kinds[t]; ok {
		return k, true
	}
	if t.PkgPath() != "" && reflect.PointerTo(t).Implements(textual) {
		return Kind{"string", map[string]any{"type": "string"}}, true
	}
	return Kind{}, false
}
