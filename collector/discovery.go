package collector

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/aws"
	"github.com/prometheus/prometheus/discovery/consul"
	"github.com/prometheus/prometheus/discovery/dns"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/moby"
	"github.com/prometheus/prometheus/discovery/nomad"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// discoveries are the kinds of discovery that are built in, each with the type
// of its list. Importing a kind makes upstream able to read it; upstream's
// package aws brings kinds that are not here, and that are refused.
func discoveries() map[string]reflect.Type {
	return map[string]reflect.Type{
		"static_configs":         reflect.TypeFor[[]*targetgroup.Group](),
		"file_sd_configs":        reflect.TypeFor[[]*file.SDConfig](),
		"http_sd_configs":        reflect.TypeFor[[]*http.SDConfig](),
		"dns_sd_configs":         reflect.TypeFor[[]*dns.SDConfig](),
		"kubernetes_sd_configs":  reflect.TypeFor[[]*kubernetes.SDConfig](),
		"docker_sd_configs":      reflect.TypeFor[[]*moby.DockerSDConfig](),
		"dockerswarm_sd_configs": reflect.TypeFor[[]*moby.DockerSwarmSDConfig](),
		"consul_sd_configs":      reflect.TypeFor[[]*consul.SDConfig](),
		"nomad_sd_configs":       reflect.TypeFor[[]*nomad.SDConfig](),
		"ec2_sd_configs":         reflect.TypeFor[[]*aws.EC2SDConfig](),
	}
}

// Discoveries are the keys by which targets are found, each with the type of
// its list: for those who describe the file.
func Discoveries() map[string]reflect.Type { return discoveries() }

func discoveryKeys() string { return strings.Join(sorted(discoveries()), ", ") }

// notBuiltIn tells a kind of discovery that Prometheus may know and Belay does not.
func notBuiltIn(key string) bool {
	_, built := discoveries()[key]
	return strings.HasSuffix(key, "_sd_configs") && !built
}

// fileDiscovery keeps patterns that are relative to the configuration inside
// its folder.
func (in *inspector) fileDiscovery(sc *config.ScrapeConfig, path []any) {
	i := 0
	for _, sd := range sc.ServiceDiscoveryConfigs {
		f, ok := sd.(*file.SDConfig)
		if !ok {
			continue
		}
		for k, pattern := range f.Files {
			if !filepath.IsAbs(pattern) && !filepath.IsLocal(pattern) {
				in.at(fmt.Sprintf("files: %q leads out of the folder of this file", pattern), "a pattern below that folder, or an absolute one", below(below(below(below(path, "file_sd_configs"), i), "files"), k)...)
			}
		}
		i++
	}
}

// secretRefs refuses secrets that only a secret manager could look up. Upstream
// would accept them and then fail to build a client.
func (in *inspector) secretRefs(path []any) {
	for _, at := range []struct{ in, ref, instead string }{
		{"basic_auth", "username_ref", "username or username_file"},
		{"basic_auth", "password_ref", "password_file"},
		{"authorization", "credentials_ref", "credentials_file"},
		{"oauth2", "client_secret_ref", "client_secret_file"},
		{"oauth2", "client_certificate_key_ref", "client_certificate_key_file"},
		{"tls_config", "ca_ref", "ca_file"},
		{"tls_config", "cert_ref", "cert_file"},
		{"tls_config", "key_ref", "key_file"},
	} {
		if where := below(below(path, at.in), at.ref); in.doc.Has(where...) {
			in.at(at.ref+": there is no secret manager to ask", at.instead, where...)
		}
	}
}
