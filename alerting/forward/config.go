package forward

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"

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
			ps = append(ps, doc.At(fmt.Sprintf("alertmanagers %d names no Alertmanager", i+1), "static_configs, file_sd_configs, dns_sd_configs", "alerting", "alertmanagers", i))
		}
		if am.SigV4Config != nil {
			ps = append(ps, doc.At("sigv4 is not built in", "basic_auth, authorization, oauth2, tls_config", "alerting", "alertmanagers", i, "sigv4"))
		}
	}
	c.SetDirectory(filepath.Dir(doc.File))
	return c, ps
}

// explain says of a kind of discovery that is not built in what to use instead.
func explain(p strict.Problem) strict.Problem {
	if strings.Contains(p.What, "_sd_configs") && p.Allowed == "" {
		p.Allowed = "static_configs, file_sd_configs, dns_sd_configs"
	}
	return p
}
