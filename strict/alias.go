package strict

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// mostNodes bounds what a file may hold once its aliases are unfolded.
const mostNodes = 1_000_000

// whole reports whether every alias below a node has its anchor below it, too.
func whole(n *yaml.Node) bool {
	anchors := map[*yaml.Node]bool{}
	var aliases []*yaml.Node
	var look func(n *yaml.Node)
	look = func(n *yaml.Node) {
		if n.Kind == yaml.AliasNode {
			aliases = append(aliases, n.Alias)
			return
		}
		if n.Anchor != "" {
			anchors[n] = true
		}
		for _, c := range n.Content {
			look(c)
		}
	}
	look(n)
	for _, a := range aliases {
		if !anchors[a] {
			return false
		}
	}
	return true
}

// unfolds returns why a tree cannot be read: an anchor that holds itself, or
// aliases of aliases that stand for too much.
func unfolds(root *yaml.Node) error {
	sizes := map[*yaml.Node]int{} // 0 while its size is not known yet
	var size func(n *yaml.Node) (int, error)
	size = func(n *yaml.Node) (int, error) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if known, ok := sizes[n]; ok {
			if known == 0 {
				return 0, fmt.Errorf("the anchor %q holds itself", n.Anchor)
			}
			return known, nil
		}
		sizes[n] = 0
		sum := 1
		for _, c := range n.Content {
			more, err := size(c)
			if err != nil {
				return 0, err
			}
			if sum += more; sum > mostNodes {
				return 0, fmt.Errorf("the file holds more than %d values once its aliases are unfolded", mostNodes)
			}
		}
		sizes[n] = sum
		return sum, nil
	}
	_, err := size(root)
	return err
}

// written returns a node as text of its own, one key to a line, with every
// alias replaced by what it stands for; and the line of the file for each line
// of that text.
func written(n *yaml.Node) (text []byte, lines map[int]int, err error) {
	full := unfold(n)
	if text, err = yaml.Marshal(full); err != nil {
		return nil, nil, err
	}
	var again yaml.Node
	if err := yaml.Unmarshal(text, &again); err != nil || len(again.Content) == 0 {
		return nil, nil, err
	}
	lines = map[int]int{}
	pair(again.Content[0], full, lines)
	return text, lines, nil
}

// unfold copies a node without aliases, comments and braces.
func unfold(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return unfold(n.Alias)
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style &^ yaml.FlowStyle, Line: n.Line}
	for _, c := range n.Content {
		out.Content = append(out.Content, unfold(c))
	}
	return out
}

// pair notes for the lines of a tree those of another of the same shape.
func pair(n, of *yaml.Node, lines map[int]int) {
	if _, ok := lines[n.Line]; !ok {
		lines[n.Line] = of.Line
	}
	for i := range min(len(n.Content), len(of.Content)) {
		pair(n.Content[i], of.Content[i], lines)
	}
}
