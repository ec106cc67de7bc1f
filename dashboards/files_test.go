package dashboards_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/belaydev/belay/dashboards"
)

var update = flag.Bool("update", false, "write the files that the code makes")

func made(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := dashboards.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFilesAreAsTheCodeMakesThem(t *testing.T) {
	files := made(t)
	for path, want := range files {
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v; go generate ./dashboards makes it", err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes; go generate ./dashboards makes it anew (-file +code):\n%s", path, cmp.Diff(string(got), string(want)))
		}
	}
	for _, dir := range []string{"grafana", "prometheus", "provisioning"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && files[filepath.ToSlash(path)] == nil && filepath.Ext(path) != ".test" {
				t.Errorf("%s is made by nobody", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestTheProvisionedDataSourceIsTheOneThatDashboardsChoose(t *testing.T) {
	var file struct {
		Datasources []struct {
			UID      string `yaml:"uid"`
			Type     string `yaml:"type"`
			Editable *bool  `yaml:"editable"`
		} `yaml:"datasources"`
	}
	if err := yaml.Unmarshal(made(t)["provisioning/datasources/belay.yml"], &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Datasources) != 1 || file.Datasources[0].Editable == nil || *file.Datasources[0].Editable {
		t.Fatalf("want one data source that nobody edits: %+v", file)
	}
	for _, d := range boards(t) {
		v := d.variable(t, "datasource")
		if v.Current.Value != file.Datasources[0].UID || v.Query != file.Datasources[0].Type {
			t.Errorf("%s chooses %v of type %v, provisioned is %+v", d.UID, v.Current.Value, v.Query, file.Datasources[0])
		}
	}
}
