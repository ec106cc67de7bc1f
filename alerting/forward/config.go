package forward

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/consul"
	"github.com/prometheus/prometheus/discovery/dns"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/belaydev/belay/strict"
)

// A Config is the key "alerting" of a prometheus.yml, unchanged.
type Config struct {
	config.AlertingConfig `yaml:",inline"`
}

// Empty reports whether there is nobody to forward to.
func (c Config) Empty() bool { return len(c.AlertmanagerConfigs) == 0 }

// Load reads the key "alerting" of a configuration. Relative paths in it start
// in the folder of the file.
func Load(doc *strict.Doc) (Config, strict.Problems) {
	var c Config
	if !doc.Has("alerting") {
		return c, nil
	}
	ps := doc.Decode(&c.AlertingConfig, "alerting")
	for i := range ps {
		ps[i] = explain(ps[i])
	}
	if len(ps) > 0 {
		return Config{}, ps
	}
	if err := c.Validate(model.UTF8Validation); err != nil {
		return Config{}, strict.Problems{doc.At("alerting: "+err.Error(), "", "alerting")}
	}
	for i, am := range c.AlertmanagerConfigs {
		if len(am.ServiceDiscoveryConfigs) == 0 {
			ps = append(ps, doc.At(fmt.Sprintf("alertmanagers %d names no Alertmanager", i+1), places(), "alerting", "alertmanagers", i))
		}
		if am.SigV4Config != nil {
			ps = append(ps, doc.At("sigv4 is not built in", "basic_auth, authorization, oauth2, tls_config", "alerting", "alertmanagers", i, "sigv4"))
		}
	}
	c.SetDirectory(filepath.Dir(doc.File))
	return c, ps
}

// explain says of a kind of discovery that is not built in what to use
// instead, and adds the kinds to the keys of an Alertmanager: upstream's type
// does not have them.
func explain(p strict.Problem) strict.Problem {
	m := unknownKey.FindStringSubmatch(p.What)
	switch {
	case m == nil:
	case strings.HasSuffix(m[1], "_sd_configs"):
		p.What, p.Allowed = strconv.Quote(m[1])+" is not built in; use http_sd_configs", places()
	case strings.Contains(p.Allowed, "path_prefix"):
		p.Allowed += ", " + places()
	}
	return p
}

var unknownKey = regexp.MustCompile(`^unknown key "(.*)"$`)

// Discoveries are the keys by which Alertmanagers are found, each with the type
// of its list. Importing a kind makes upstream able to read it.
func Discoveries() map[string]reflect.Type {
	return map[string]reflect.Type{
		"static_configs":        reflect.TypeFor[[]*targetgroup.Group](),
		"file_sd_configs":       reflect.TypeFor[[]*file.SDConfig](),
		"http_sd_configs":       reflect.TypeFor[[]*http.SDConfig](),
		"dns_sd_configs":        reflect.TypeFor[[]*dns.SDConfig](),
		"kubernetes_sd_configs": reflect.TypeFor[[]*kubernetes.SDConfig](),
		"consul_sd_configs":     reflect.TypeFor[[]*consul.SDConfig](),
	}
}

func places() string { return strings.Join(slices.Sorted(maps.Keys(Discoveries())), ", ") }
