package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const generated = "# Made by go generate ./dashboards; change the Go code instead.\n"

const datasourceFile = generated + `apiVersion: 1
prune: true
datasources:
  - name: Prometheus of Belay
    uid: ` + DatasourceUID + `
    type: prometheus
    access: proxy
    url: http://127.0.0.1:9090
    isDefault: true
    editable: false
    jsonData: {httpMethod: POST, timeInterval: 5s}
`

const providerFile = generated + `apiVersion: 1
providers:
  - name: belay
    folder: Belay
    type: file
    disableDeletion: true
    allowUiUpdates: false
    options: {path: /usr/share/belay/dashboards, foldersFromFilesStructure: false}
`

// Files returns every file that this package makes, by its path below the
// package's folder.
func Files() (map[string][]byte, error) {
	files := map[string][]byte{
		"provisioning/datasources/belay.yml": []byte(datasourceFile),
		"provisioning/dashboards/belay.yml":  []byte(providerFile),
	}
	for _, d := range []dashboard{fleet(), service()} {
		text, err := d.marshal()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", d.UID, err)
		}
		files["grafana/"+d.UID+".json"] = text
	}
	var err error
	if files["prometheus/belay.yml"], err = ownRules().marshal(); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return files, nil
}

func (d dashboard) marshal() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(d)
	return b.Bytes(), err
}
