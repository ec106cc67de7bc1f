package alerting

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	promconfig "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/strict"
)

// GlobalKeys returns the keys of `global` that are Alertmanager's.
func GlobalKeys() []string { return strict.KeysOf(reflect.TypeFor[amconfig.GlobalConfig]()) }

// Keys returns the top-level keys of Alertmanager that Belay's file takes
// verbatim.
func Keys() []string {
	return []string{"route", "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals", "templates"}
}

// An upstream is the Alertmanager part of a file, read by Alertmanager's own
// types and validated by Alertmanager's own rules.
type upstream struct {
	doc      *strict.Doc
	cfg      amconfig.Config
	problems strict.Problems
	warnings []string
}

// alertmanager finds where Alertmanager's keys stand: in Belay's file, or in
// the one that alertmanager_config names.
func alertmanager(doc *strict.Doc) *upstream {
	up := &upstream{doc: doc}
	if !doc.Has("alertmanager_config") {
		return up
	}
	for _, key := range Keys() {
		if doc.Has(key) {
			up.problems = append(up.problems, doc.At(key+" stands here, and alertmanager_config names a file that has it, too", "one of them", key))
		}
	}
	var file string
	if ps := doc.Decode(&file, "alertmanager_config"); len(ps) > 0 {
		up.problems = append(up.problems, ps...)
		return up
	}
	file = promconfig.JoinDir(filepath.Dir(doc.File), file)
	text, err := os.ReadFile(file)
	if err != nil {
		up.problems = append(up.problems, doc.At("alertmanager_config: "+reason(err), "an alertmanager.yml that can be read", "alertmanager_config"))
		return up
	}
	other, ps := strict.Parse(file, text)
	up.problems = append(up.problems, ps...)
	if len(ps) == 0 {
		up.doc = other
		up.only(append(Keys(), "global"), "tracing", "event_recorder")
	}
	return up
}

func reason(err error) string {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // os.ReadFile returns it bare
		return pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}

// only refuses every top-level key but the known ones and the meaningless.
func (up *upstream) only(known []string, meaningless ...string) {
	for _, key := range up.doc.Keys() {
		switch {
		case slices.Contains(known, key):
		case slices.Contains(meaningless, key):
			up.warn(key+" has no meaning here and is ignored", key)
		default:
			up.problems = append(up.problems, up.doc.At(fmt.Sprintf("unknown key %q", key), strings.Join(known, ", "), key))
		}
	}
	allowed := GlobalKeys()
	for _, key := range mappingKeys(up.doc, "global") {
		if !slices.Contains(allowed, key) {
			up.problems = append(up.problems, up.doc.At(fmt.Sprintf("unknown key %q", key), strings.Join(allowed, ", "), "global", key))
		}
	}
}

func (up *upstream) warn(what string, path ...any) {
	up.warnings = append(up.warnings, fmt.Sprintf("%s:%d: %s", up.doc.File, up.doc.Line(path...), what))
}

// mappingKeys returns the keys of the mapping at a path.
func mappingKeys(doc *strict.Doc, path ...any) []string {
	var m map[string]yaml.Node
	if ps := doc.Decode(&m, path...); len(ps) > 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// read decodes every key into Alertmanager's types, strictly.
func (up *upstream) read() {
	doc := up.filled()
	add := func(ps strict.Problems) { up.problems = append(up.problems, ps...) }
	global := amconfig.DefaultGlobalConfig()
	v := reflect.ValueOf(&global).Elem()
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if key != "" && key != "-" && doc.Has("global", key) {
			add(doc.Decode(v.Field(i).Addr().Interface(), "global", key))
		}
	}
	up.cfg.Global = &global
	add(doc.Decode(&up.cfg.Route, "route"))
	add(up.receivers(doc))
	add(doc.Decode(&up.cfg.InhibitRules, "inhibit_rules"))
	add(doc.Decode(&up.cfg.TimeIntervals, "time_intervals"))
	add(doc.Decode(&up.cfg.MuteTimeIntervals, "mute_time_intervals"))
	add(doc.Decode(&up.cfg.Templates, "templates"))
}

// receivers reads one receiver after the other, so that one that is wrong does
// not hide the next.
func (up *upstream) receivers(doc *strict.Doc) strict.Problems {
	if !doc.Has("receivers", 0) {
		return doc.Decode(&up.cfg.Receivers, "receivers")
	}
	var ps strict.Problems
	for i := 0; doc.Has("receivers", i); i++ {
		var r amconfig.Receiver
		bad := doc.Decode(&r, "receivers", i)
		for n := range bad {
			if bad[n].Line == 0 { // from a type that reads itself
				bad[n].Line = doc.Line("receivers", i)
			}
		}
		ps = append(ps, bad...)
		up.cfg.Receivers = append(up.cfg.Receivers, r)
	}
	return ps
}

// judge lets Alertmanager say what is wrong with the whole. Its words name no
// line; the value that they quote does. slack says that Belay has a bot token,
// so that slack_configs need no address of their own.
func (up *upstream) judge(slack bool) {
	if up.cfg.Route == nil {
		return
	}
	probe := up.cfg
	if g := *probe.Global; slack && g.SlackAPIURL == nil && g.SlackAPIURLFile == "" && g.SlackAppToken == "" && g.SlackAppTokenFile == "" {
		g.SlackAppToken = masked // Belay's own token sends them
		probe.Global = &g
	}
	err := probe.UnmarshalYAML(func(out any) error {
		v := reflect.ValueOf(out).Elem()
		v.Set(reflect.ValueOf(probe).Convert(v.Type()))
		return nil
	})
	if err != nil {
		up.problems = append(up.problems, strict.Problem{File: up.doc.File, Line: up.blamed(err.Error()), What: err.Error(), Allowed: wayOut(err.Error())})
		return
	}
	up.cfg = probe
}

var quoted = regexp.MustCompile(`"([^"]*)"`)

// blamed finds the line of the last value that a message quotes, or of the
// first key that it names.
func (up *upstream) blamed(msg string) int {
	values := map[string]bool{}
	for _, m := range quoted.FindAllStringSubmatch(msg, -1) {
		values[m[1]] = true
	}
	words := strings.Fields(strings.ReplaceAll(msg, ",", " "))
	line, byKey := 0, 0
	for _, key := range append(Keys(), "global") {
		var n yaml.Node
		if !up.doc.Has(key) || len(up.doc.Decode(&n, key)) > 0 {
			continue
		}
		walk(&n, func(k, v *yaml.Node) {
			if v.Kind == yaml.ScalarNode && values[v.Value] {
				line = max(line, v.Line)
			}
			if k != nil && byKey == 0 && (slices.Contains(words, k.Value) || names(msg, k.Value)) {
				byKey = k.Line
			}
		})
	}
	switch {
	case line > 0:
		return line
	case byKey > 0:
		return byKey
	case strings.Contains(msg, "route"):
		return up.doc.Line("route")
	}
	return up.doc.Line("receivers")
}

// names says whether a message speaks of a kind of receivers.
func names(msg, key string) bool {
	kind, ok := strings.CutSuffix(key, "_configs")
	msg = strings.ToLower(msg)
	return ok && (strings.Contains(msg, kind) || kind == "email" && strings.Contains(msg, "smtp"))
}

func walk(n *yaml.Node, visit func(key, value *yaml.Node)) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			visit(n.Content[i], n.Content[i+1])
			walk(n.Content[i+1], visit)
		}
	case yaml.SequenceNode, yaml.DocumentNode:
		for _, c := range n.Content {
			visit(nil, c)
			walk(c, visit)
		}
	}
}

func wayOut(msg string) string {
	switch {
	case strings.HasPrefix(msg, "no Slack API URL"):
		return needToken
	case strings.HasPrefix(msg, "at most one of"), strings.HasPrefix(msg, "one of"):
		return "one of them"
	case strings.HasPrefix(msg, "no global"), strings.HasPrefix(msg, "missing"), strings.HasPrefix(msg, "no "):
		return "the value in the receiver, or in global"
	case strings.HasPrefix(msg, "root route"):
		return "routes below it, which may have any"
	case strings.HasPrefix(msg, "undefined receiver"):
		return "a name under receivers"
	case strings.HasPrefix(msg, "undefined time interval"):
		return "a name under time_intervals"
	case strings.Contains(msg, "not unique"):
		return "a name of its own"
	}
	return "what Alertmanager takes"
}

// filled returns the file with every ${NAME} replaced by a harmless value, so
// that Alertmanager's types can read addresses that the environment completes.
func (up *upstream) filled() *strict.Doc {
	text := up.doc.Only(up.doc.Keys()...)
	if !placeholder.Match(text) {
		return up.doc
	}
	doc, ps := strict.Parse(up.doc.File, placeholder.ReplaceAll(text, []byte("http://secret.invalid/${1}")))
	if len(ps) > 0 {
		return up.doc
	}
	return doc
}

var placeholder = regexp.MustCompile(env.String() + "|" + masked)
