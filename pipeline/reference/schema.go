package reference

import (
	"bytes"
	"encoding/json"
	"path"
	"reflect"
	"slices"
)

// Schema returns the JSON Schema (draft 2020-12) of the configuration. YAML
// reads more scalars as text than JSON does, and a key without a value as
// nothing given; so does the schema.
func (d *Describer) Schema(id, title string) ([]byte, error) {
	s := &schema{d: d, defs: map[string]any{}, names: map[reflect.Type]string{}}
	top := s.object(d.opts.Root)
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["$id"] = id
	top["title"] = title
	top["$defs"] = s.defs
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(top); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type schema struct {
	d     *Describer
	defs  map[string]any
	names map[reflect.Type]string
}

func (s *schema) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	out := map[string]any{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if doc := s.d.comments.about(s.d.speaker(t)); doc != "" && t != s.d.opts.Root {
		out["description"] = doc
	}
	for _, f := range s.d.fields(t) {
		if f.rest {
			out["additionalProperties"] = s.of(f.typ)
			continue
		}
		properties[f.name] = s.property(f)
	}
	if required := s.d.opts.Required[t]; len(required) > 0 {
		out["required"] = required
	}
	if slices.Contains(s.d.opts.Single, t) {
		out["minProperties"], out["maxProperties"] = 1, 1
	}
	return out
}

func (s *schema) property(f field) map[string]any {
	out := s.of(f.typ)
	if values := s.d.enum(f); len(values) > 0 {
		out = map[string]any{"enum": values}
	}
	if f.doc != "" {
		out["description"] = f.doc
	}
	if f.def != nil {
		out["default"] = f.def
	}
	return out
}

// of returns what a value of the type looks like.
func (s *schema) of(t reflect.Type) map[string]any {
	t = s.d.resolve(t)
	if k, ok := s.d.kind(t); ok {
		out := map[string]any{}
		for key, v := range k.Schema {
			out[key] = v
		}
		return out
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return scalar()
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": s.element(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": s.element(t.Elem())}
	case reflect.Struct:
		if t.Name() == "" {
			return s.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + s.define(t)}
	}
	return map[string]any{}
}

func (s *schema) element(t reflect.Type) map[string]any {
	f := field{typ: s.d.resolve(t)}
	return s.property(f)
}

func scalar() map[string]any {
	return map[string]any{"type": []string{"string", "number", "boolean", "null"}}
}

// define puts a type among the definitions and returns its name there.
func (s *schema) define(t reflect.Type) string {
	if name, ok := s.names[t]; ok {
		return name
	}
	name := path.Base(t.PkgPath()) + "." + t.Name()
	for s.defs[name] != nil {
		name += "_"
	}
	s.names[t] = name
	s.defs[name] = true // so that a type may hold itself
	s.defs[name] = s.object(t)
	return name
}
