package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A field is one key of a YAML mapping with its value, aliases followed.
type field struct {
	name       string
	key, value *yaml.Node
}

// lineOf returns the line of a key inside the field's value.
func (f field) lineOf(key string, otherwise int) int {
	if f.value == nil {
		return otherwise
	}
	for _, in := range fieldsOf(f.value) {
		if in.name == key {
			return in.key.Line
		}
	}
	return f.key.Line
}

// mergeDepth bounds merges of merges, so that a loop among them ends.
const mergeDepth = 16

// fieldsOf returns the keys of a mapping in their order, those that it merges
// from elsewhere (<<) after its own.
func fieldsOf(node *yaml.Node) []field { return appendFields(nil, node, mergeDepth) }

func appendFields(out []field, node *yaml.Node, depth int) []field {
	node = follow(node)
	if node.Kind != yaml.MappingNode || depth == 0 {
		return out
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := follow(node.Content[i]), follow(node.Content[i+1])
		switch {
		case key.Tag == "!!merge" && value.Kind == yaml.SequenceNode:
			merges = append(merges, value.Content...)
		case key.Tag == "!!merge":
			merges = append(merges, value)
		case !has(out, key.Value):
			out = append(out, field{key.Value, key, value})
		}
	}
	for _, m := range merges {
		out = appendFields(out, m, depth-1)
	}
	return out
}

func has(fields []field, name string) bool {
	for _, f := range fields {
		if f.name == name {
			return true
		}
	}
	return false
}

func follow(node *yaml.Node) *yaml.Node {
	for i := 0; node.Kind == yaml.AliasNode && i < mergeDepth; i++ {
		node = node.Alias
	}
	return node
}

func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "mapping"
	case node.Kind == yaml.SequenceNode:
		return "list"
	case node.Tag == "!!null":
		return "gap"
	}
	return "single value"
}

// duplicates reports keys that stand twice in a mapping.
func (r *reader) duplicates(node *yaml.Node) {
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := follow(node.Content[i])
		if first, ok := seen[key.Value]; ok && key.Tag != "!!merge" {
			r.problem(key.Line, "", "the key %q is here twice, first at line %d", key.Value, first)
			continue
		}
		seen[key.Value] = key.Line
	}
}

// list returns the elements of a list. A gap is an empty list.
func (r *reader) list(f field, what string) []*yaml.Node {
	if f.value.Kind == yaml.SequenceNode {
		return f.value.Content
	}
	if f.value.Tag != "!!null" {
		r.problem(f.key.Line, "a list", "a %s stands where the list of %s belongs", kindOf(f.value), what)
	}
	return nil
}

var (
	lineOfError = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	wrongType   = regexp.MustCompile("^cannot unmarshal !!(\\S+)(?: `(.*)`)? into (.+)$")
)

// decode reads a mapping into a struct and reports values of the wrong kind.
func (r *reader) decode(node *yaml.Node, out any) bool {
	err := node.Decode(out)
	if err == nil {
		return true
	}
	messages := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		messages = te.Errors
	}
	for _, msg := range messages {
		line := node.Line
		if m := lineOfError.FindStringSubmatch(msg); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				line = n
			}
			msg = m[2]
		}
		if m := wrongType.FindStringSubmatch(msg); m != nil {
			msg = fmt.Sprintf("a %s stands where a %s belongs", plain(m[1]), plain(m[3]))
			if m[2] != "" {
				msg = fmt.Sprintf("%q is not a %s", m[2], plain(m[3]))
			}
		}
		r.problem(line, "", "%s", msg)
	}
	return false
}

// plain returns the word that people use for a type of YAML or Go.
func plain(t string) string {
	switch {
	case t == "seq":
		return "list"
	case strings.HasPrefix(t, "map"):
		return "mapping"
	case t == "str":
		return "string"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "float"):
		return "number"
	case t == "bool":
		return "true or false"
	}
	return t
}
