package swarm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/belaydev/belay/rollback/swarm"
	"github.com/belaydev/belay/strict"
)

func TestConfigurationSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no service":       {"swarm: {poll: 1s}", `x.yml:1: the swarm platform needs a service`},
		"an unknown key":   {"swarm: {service: a, namespace: b}", `unknown key "namespace"`},
		"a path":           {"swarm: {service: a/b}", `needs a service`},
		"no address":       {"swarm: {service: a, host: here}", `"here" is no address of a Docker Engine`},
		"half of TLS":      {"swarm: {service: a, host: 'tcp://m:2376', tls_config: {ca_file: ca.pem}}", "tls_config is incomplete"},
		"TLS for nowhere":  {"swarm: {service: a, tls_config: {ca_file: a, cert_file: b, key_file: c}}", "tls_config without host"},
		"a poll too short": {"swarm: {service: a, poll: 1ms}", "poll of 1ms is too short"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, ps := strict.Parse("x.yml", []byte(tc.text+"\n"))
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			if _, ps := swarm.Decode(doc, "swarm"); !strings.Contains(ps.Error(), tc.want) {
				t.Errorf("%q, want %q", ps.Error(), tc.want)
			}
		})
	}
}

func TestConfigurationHasDefaults(t *testing.T) {
	doc, _ := strict.Parse("/etc/belay/belay.yml", []byte("swarm: {service: shop_checkout, host: 'tcp://m:2376', tls_config: {ca_file: ca.pem, cert_file: /c.pem, key_file: k.pem}}\n"))
	c, ps := swarm.Decode(doc, "swarm")
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	if c.Timeout != 30*time.Second || c.Poll != time.Second || c.TLS.CAFile != "/etc/belay/ca.pem" || c.TLS.CertFile != "/c.pem" {
		t.Errorf("%+v", c)
	}
}
