package pipeline

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/rollback/command"
	"github.com/belaydev/belay/rollback/compose"
	"github.com/belaydev/belay/rollback/kubernetes"
	"github.com/belaydev/belay/rollback/swarm"
	"github.com/belaydev/belay/rollback/webhook"
	"github.com/belaydev/belay/strict"
)

// serviceKeys is one entry of services as it stands in the file.
type serviceKeys struct {
	Name          string            `yaml:"name"`           // letters, digits, '.', '_' and '-'; unlike that of every other service of its environment
	Environment   string            `yaml:"environment"`    // where it runs; production unless given
	Match         map[string]string `yaml:"match"`          // labels that tie series and alerts to it, {service: NAME} unless given; the service that asks for most wins
	RevisionLabel string            `yaml:"revision_label"` // the label by which its series tell old from new
	Platform      platform          `yaml:"platform"`       // what deployed it, and takes it back; exactly one
	DependsOn     []string          `yaml:"depends_on"`     // NAME or ENVIRONMENT/NAME of services whose deployments are suspects, too
	Owners        ownerKeys         `yaml:"owners"`         // who is told, and who may approve
	SLO           yaml.Node         `yaml:"slo"`            // not built yet
	Rollback      overrides         `yaml:"rollback"`       // overrides the policy, key by key
}

type ownerKeys struct {
	SlackChannel string   `yaml:"slack_channel"` // is told of this service's incidents
	Approvers    []string `yaml:"approvers"`     // people, or @GROUP of people, who may order and approve a rollback; none: whoever has the scope, nobody in Slack
	FourEyes     bool     `yaml:"four_eyes"`     // whoever deployed the suspect may not approve taking it back
}

type (
	platform  map[string]yaml.Node // platformKeys, read by the platform itself
	overrides yaml.Node            // rollback.Policy, read over the one at the top
)

// UnmarshalYAML keeps the keys for later.
func (o *overrides) UnmarshalYAML(n *yaml.Node) error {
	*o = overrides(*n)
	return nil
}

// platformKeys are the keys of a platform with their types: for those who
// describe the file. Who adds to platforms adds here; a test compares the two.
type platformKeys struct {
	Command    *command.Config    `yaml:"command"`    // three programs of yours; see rollback/command/README.md
	Kubernetes *kubernetes.Config `yaml:"kubernetes"` // a Deployment, StatefulSet or DaemonSet; see docs/platforms/kubernetes.md
	Compose    *compose.Config    `yaml:"compose"`    // a service of a Compose project; see docs/platforms/compose.md
	Swarm      *swarm.Config      `yaml:"swarm"`      // a service of a Docker Swarm; see docs/platforms/swarm.md
	Webhook    *webhook.Config    `yaml:"webhook"`    // a URL of yours; see rollback/webhook/README.md
}

// overriding is rollback.Policy where it overrides the one at the top, whose
// values hold where it says nothing.
type overriding rollback.Policy

// stands are the types of what is read later, by others.
func stands() map[reflect.Type]reflect.Type {
	return map[reflect.Type]reflect.Type{
		reflect.TypeFor[platform]():  reflect.TypeFor[platformKeys](),
		reflect.TypeFor[overrides](): reflect.TypeFor[overriding](),
	}
}

// openPlatform opens a platform from its keys, without touching a network or a
// file.
type openPlatform func(doc *strict.Doc, path ...any) (rollback.Platform, strict.Problems)

// platforms are the platforms that are built in. specs is where those that
// forget what ran keep how to put it back.
func platforms(specs *rollback.Specs) map[string]openPlatform {
	return map[string]openPlatform{
		"command": func(doc *strict.Doc, path ...any) (rollback.Platform, strict.Problems) {
			cfg, ps := command.Decode(doc, path...)
			if len(ps) > 0 {
				return nil, ps
			}
			p, err := command.New(cfg, command.Options{})
			if err != nil {
				return nil, strict.Problems{doc.At(err.Error(), "", path...)}
			}
			return p, nil
		},
		"kubernetes": func(doc *strict.Doc, path ...any) (rollback.Platform, strict.Problems) {
			cfg, ps := kubernetes.Decode(doc, path...)
			if len(ps) > 0 {
				return nil, ps
			}
			p, err := kubernetes.New(cfg, kubernetes.Options{Specs: specs})
			if err != nil {
				return nil, strict.Problems{doc.At(err.Error(), "", path...)}
			}
			return p, nil
		},
		"compose": func(doc *strict.Doc, path ...any) (rollback.Platform, strict.Problems) {
			cfg, ps := compose.Decode(doc, path...)
			if len(ps) > 0 {
				return nil, ps
			}
			p, err := compose.New(cfg, compose.Options{Specs: specs})
			if err != nil {
				return nil, strict.Problems{doc.At(err.Error(), "", path...)}
			}
			return p, nil
		},
		"swarm": func(doc *strict.Doc, path ...any) (rollback.Platform, strict.Problems) {
			cfg, ps := swarm.Decode(doc, path...)
			if len(ps) > 0 {
				return nil, ps
			}
			p, err := swarm.New(cfg, swarm.Options{Specs: specs})
			if err != nil {
				return nil, strict.Problems{doc.At(err.Error(), "", path...)}
			}
			return p, nil
		},
		"webhook": func(doc *strict.Doc, path ...any) (rollback.Platform, strict.Problems) {
			cfg, ps := webhook.Decode(doc, path...)
			if len(ps) > 0 {
				return nil, ps
			}
			p, err := webhook.New(cfg, webhook.Options{})
			if err != nil {
				return nil, strict.Problems{doc.At(err.Error(), "", path...)}
			}
			return p, nil
		},
	}
}

func (c *Config) readServices(doc *strict.Doc, dir string) strict.Problems {
	base, problems := rollback.LoadPolicy(doc, rollback.DefaultPolicy(), "rollback")
	c.Policy = base.Resolve(dir)
	var list []serviceKeys
	problems = append(problems, doc.Decode(&list, "services")...)
	seen := map[belay.ServiceID]int{}
	builtIn := platforms(rollback.NewSpecs(filepath.Join(filepath.Dir(c.Journal.Path), "specs")))
	for i, keys := range list {
		s, ps := readService(doc, keys, i, builtIn)
		policy, more := rollback.LoadPolicy(doc, base, "services", i, "rollback")
		s.Policy = policy.Resolve(dir)
		if doc.Has("services", i, "rollback") { // otherwise its problems were told with the top-level policy
			ps = append(ps, more...)
		}
		if first, twice := seen[s.ID]; twice {
			ps = append(ps, doc.At(fmt.Sprintf("service %s stands twice; first in line %d", s.ID, doc.Line("services", first)), "one entry a service and environment", "services", i, "name"))
		}
		seen[s.ID] = i
		problems = append(problems, ps...)
		c.Services = append(c.Services, s)
	}
	for i, keys := range list {
		for j, name := range keys.DependsOn {
			id := dependency(name, c.Services[i].ID.Environment)
			c.Services[i].DependsOn = append(c.Services[i].DependsOn, id)
			if _, ok := seen[id]; !ok {
				problems = append(problems, doc.At(fmt.Sprintf("depends_on names %q, which is no service of this file", name), strings.Join(serviceNames(c.Services), ", "), "services", i, "depends_on", j))
			}
		}
	}
	return problems
}

func dependency(name, environment string) belay.ServiceID {
	if strings.Contains(name, "/") {
		return belay.ParseServiceID(name)
	}
	return belay.ServiceID{Environment: environment, Name: name}
}

func serviceNames(services []Service) []string {
	var names []string
	for _, s := range services {
		names = append(names, s.ID.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func readService(doc *strict.Doc, keys serviceKeys, i int, builtIn map[string]openPlatform) (Service, strict.Problems) {
	var ps strict.Problems
	s := Service{
		ID:            belay.ServiceID{Environment: keys.Environment, Name: keys.Name},
		Match:         keys.Match,
		RevisionLabel: keys.RevisionLabel,
		SlackChannel:  keys.Owners.SlackChannel,
		Approvers:     keys.Owners.Approvers,
		FourEyes:      keys.Owners.FourEyes,
	}
	if s.ID.Environment == "" {
		s.ID.Environment = belay.DefaultEnvironment
	}
	for key, v := range map[string]string{"name": s.ID.Name, "environment": s.ID.Environment} {
		if !plainName(v) {
			ps = append(ps, doc.At(fmt.Sprintf("%q is no %s of a service", v, key), "letters, digits, '.', '_' and '-', up to 100", "services", i, key))
		}
	}
	if len(s.Match) == 0 {
		s.Match = map[string]string{"service": s.ID.Name}
	}
	for name := range s.Match {
		if !model.UTF8Validation.IsValidLabelName(name) {
			ps = append(ps, doc.At(fmt.Sprintf("match: %q is no label name", name), "a label name", "services", i, "match", name))
		}
	}
	if keys.SLO.Kind != 0 {
		ps = append(ps, doc.At("slo is not built yet", "a threshold rule on the ratio", "services", i, "slo"))
	}
	more := s.openPlatform(doc, keys.Platform, i, builtIn)
	return s, append(ps, more...)
}

func (s *Service) openPlatform(doc *strict.Doc, keys platform, i int, builtIn map[string]openPlatform) strict.Problems {
	var names []string
	for name := range builtIn {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(keys) > 1 {
		return strict.Problems{doc.At("a service has one platform", "exactly one of "+strings.Join(names, ", "), "services", i, "platform")}
	}
	for name := range keys {
		open, ok := builtIn[name]
		if !ok {
			return strict.Problems{doc.At(fmt.Sprintf("platform %q is not built in", name), strings.Join(names, ", "), "services", i, "platform", name)}
		}
		var ps strict.Problems
		s.PlatformName = name
		s.Platform, ps = open(doc, "services", i, "platform", name)
		return ps
	}
	return nil
}

func plainName(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-", r):
		default:
			return false
		}
	}
	return s != "." && s != ".."
}
