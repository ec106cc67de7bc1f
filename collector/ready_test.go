package collector

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/belaydev/belay/strict"
)

func TestEveryKindOfDiscoveryIsReadAndCanBeMade(t *testing.T) {
	doc, problems := strict.Parse("/etc/belay/belay.yml", []byte(`
scrape_configs:
- job_name: all
  static_configs: [{targets: ["127.0.0.1:1"]}]
  file_sd_configs: [{files: [targets/*.json]}]
  http_sd_configs: [{url: "http://127.0.0.1:1/sd", refresh_interval: 30s, basic_auth: {username: a, password: b}}]
  dns_sd_configs: [{names: [_http._tcp.example.invalid], type: SRV}]
  kubernetes_sd_configs: [{role: pod, api_server: "http://127.0.0.1:1", namespaces: {names: [shop]}, selectors: [{role: pod, label: app=shop}]}]
  docker_sd_configs: [{host: "unix:///nowhere/docker.sock", filters: [{name: label, values: [scrape]}]}]
  dockerswarm_sd_configs: [{host: "unix:///nowhere/docker.sock", role: tasks}]
  consul_sd_configs: [{server: "127.0.0.1:1", services: [shop], tags: [blue]}]
  nomad_sd_configs: [{server: "http://127.0.0.1:1"}]
  ec2_sd_configs: [{region: eu-central-1, access_key: a, secret_key: b, port: 9100, endpoint: "http://127.0.0.1:1"}]
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	cfg, problems := Load(doc)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if n := len(cfg.ScrapeConfigs[0].ServiceDiscoveryConfigs); n != len(discoveries()) {
		t.Errorf("%d kinds were read, want %d", n, len(discoveries()))
	}
	if err := ready(cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeMadeIsFoundBeforeAnythingIsTouched(t *testing.T) {
	for text, want := range map[string]string{
		"scrape_configs: [{job_name: a, tls_config: {ca_file: nowhere.pem}}]":                                                        "scrape configuration \"a\": ",
		"scrape_configs: [{job_name: a, scrape_failure_log_file: /nowhere/at/all.log}]":                                              "/nowhere/at/all.log",
		"scrape_configs: [{job_name: a, http_sd_configs: [{url: \"http://127.0.0.1:1\", tls_config: {cert_file: x, key_file: y}}]}]": "http discovery: ",
		"remote_write: [{url: \"http://127.0.0.1:1/a\", tls_config: {ca_file: nowhere.pem}}]":                                        "remote_write to http://127.0.0.1:1/a: ",
		"remote_write: [{url: \"http://127.0.0.1:1/a\"}, {url: \"http://127.0.0.1:1/a\"}]":                                           "is there twice",
	} {
		doc, problems := strict.Parse(t.TempDir()+"/belay.yml", []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		cfg, problems := Load(doc)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if err := ready(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
