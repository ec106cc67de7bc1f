package collector

import (
	"fmt"
	"reflect"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
)

// remoteWrites reads remote_write, Prometheus's own, element by element.
func (in *inspector) remoteWrites(r raw, global config.GlobalConfig, dir string) []*config.RemoteWriteConfig {
	var list []raw
	in.decode(r, &list, "remote_write")
	names := map[string]int{}
	var out []*config.RemoteWriteConfig
	for i, elem := range list {
		path := []any{"remote_write", i}
		if elem.absent() {
			in.at("an empty destination", "a mapping with url", path...)
			continue
		}
		if rw := in.remoteWrite(elem, global, names, path); rw != nil {
			rw.SetDirectory(dir)
			out = append(out, rw)
		}
	}
	return out
}

// remoteWrite returns nil when it found problems.
func (in *inspector) remoteWrite(r raw, global config.GlobalConfig, names map[string]int, path []any) *config.RemoteWriteConfig {
	before := len(in.problems)
	rw := &config.RemoteWriteConfig{}
	if !in.decode(r, rw, path...) {
		return nil
	}
	if s := rw.URL.Scheme; s != "http" && s != "https" || rw.URL.Host == "" {
		in.at("url: "+quote(rw.URL.Redacted())+" is not the address of a receiver", "a URL such as http://mimir.example.org/api/v1/push", below(path, "url")...)
	}
	if first, ok := names[rw.Name]; ok && rw.Name != "" {
		in.at(fmt.Sprintf("name: %q is taken by the destination in line %d", rw.Name, first), "a name that no other destination has", below(path, "name")...)
	} else {
		names[rw.Name] = in.doc.Line(below(path, "name")...)
	}
	in.secretRefs(path)
	in.relabelling(rw.WriteRelabelConfigs, global.MetricNameValidationScheme, global, below(path, "write_relabel_configs"))
	if len(in.problems) > before {
		return nil
	}
	if err := rw.Validate(global.MetricNameValidationScheme); err != nil {
		in.blame(err, keysOf(reflect.TypeFor[config.RemoteWriteConfig]()), path)
		return nil
	}
	return rw
}

// sendable tells whether clients can be made for all destinations.
func sendable(all []*config.RemoteWriteConfig) error {
	for i, rw := range all {
		for _, other := range all[:i] {
			if reflect.DeepEqual(rw, other) {
				return fmt.Errorf("remote_write: %s is there twice", rw.URL.Redacted())
			}
		}
		_, err := remote.NewWriteClient("check", &remote.ClientConfig{
			URL: rw.URL, WriteProtoMsg: rw.ProtobufMessage, Timeout: rw.RemoteTimeout, HTTPClientConfig: rw.HTTPClientConfig,
			SigV4Config: rw.SigV4Config, AzureADConfig: rw.AzureADConfig, GoogleIAMConfig: rw.GoogleIAMConfig,
			Headers: rw.Headers, RoundRobinDNS: rw.RoundRobinDNS,
		})
		if err != nil {
			return fmt.Errorf("remote_write to %s: %w", rw.URL.Redacted(), err)
		}
	}
	return nil
}
