package belay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/belaydev/belay"

// parts never import each other; see docs/architecture.md.
var parts = []string{"collector", "rules", "alerting", "rollback", "review", "dashboards"}

// free may be imported by every part: words, and tools without an opinion.
var free = []string{"", "strict", "telemetry", "chart"}

type file struct {
	path, dir, part string
	test            bool
	imports         []string
	lines           int
	doc             string
}

// tree parses every Go file of the module, in this process: a test that asked
// `go list` would be answered from the test cache.
func tree(t *testing.T) []file {
	t.Helper()
	var files []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "tools", "bin", "data"}, d.Name())) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, describe(fset, path, f))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func describe(fset *token.FileSet, path string, f *ast.File) file {
	dir := filepath.ToSlash(filepath.Dir(path))
	if dir == "." {
		dir = ""
	}
	part, _, _ := strings.Cut(dir, "/")
	out := file{path: path, dir: dir, part: part, test: strings.HasSuffix(path, "_test.go"), doc: f.Doc.Text()}
	out.lines = fset.File(f.FileStart).LineCount()
	for _, imp := range f.Imports {
		out.imports = append(out.imports, strings.Trim(imp.Path.Value, `"`))
	}
	return out
}

func TestLawsOfImport(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		for _, imp := range f.imports {
			if why := forbidden(f, imp); why != "" {
				t.Errorf("%s imports %s: %s", f.path, imp, why)
			}
		}
	}
}

// forbidden says why a file may not import a path, or nothing.
func forbidden(f file, imp string) string {
	inner, ours := strings.CutPrefix(imp, module)
	inner = strings.TrimPrefix(inner, "/")
	to, _, _ := strings.Cut(inner, "/")
	switch {
	case f.dir == "":
		if strings.Contains(imp, ".") && imp != "github.com/prometheus/prometheus/model/labels" {
			return "the root holds nouns: the standard library and model/labels only"
		}
	case !ours, slices.Contains(free, inner):
	case slices.Contains(parts, f.part) && to != f.part:
		return "parts meet in the nouns and in pipeline, never in each other"
	case slices.Contains(free, f.part):
		return "what every part may import imports no part"
	case f.part == "journal" || f.part == "web":
		return f.part + " knows the nouns only"
	}
	return ""
}

func TestLawsOfTheRoot(t *testing.T) {
	lines := 0
	for _, f := range tree(t) {
		if f.dir == "" && !f.test {
			lines += f.lines
		}
	}
	if lines > 500 {
		t.Errorf("the root package has %d lines; it holds nouns, in at most 500", lines)
	}
}

func TestLawsOfNaming(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		documented[f.dir] = documented[f.dir] || f.doc != ""
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "manager", "types", "config"}, filepath.Base(f.dir)) {
			t.Errorf("%s: a package is named after its role, not %q", f.path, filepath.Base(f.dir))
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %q has no comment that says what it is for", dir)
		}
	}
}

var named = regexp.MustCompile("`((?:alerting|chart|cmd|collector|dashboards|demo|deploy|docs|journal|pipeline|review|rollback|rules|scripts|strict|telemetry|web|\\.ci)/[A-Za-z0-9_./-]*)`")

func TestDocsNameOnlyPathsThatExist(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "*/*/README.md", "*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}
