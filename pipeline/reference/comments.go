package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// comments are what the source of a module says of its types.
type comments struct {
	module, dir string
	packages    map[string]*spoken // by import path
}

// spoken is what one package says.
type spoken struct {
	types  map[string]string            // by name
	fields map[string]map[string]string // by type and field
	consts map[string][]string          // the values of string constants, by their type
}

func readComments(module, dir string) (*comments, error) {
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return nil, err
	}
	return &comments{module: module, dir: dir, packages: map[string]*spoken{}}, nil
}

// of returns what is said of a field, "" if nothing is.
func (c *comments) of(t reflect.Type, field string) string {
	p := c.read(t.PkgPath())
	if p == nil {
		return ""
	}
	return p.fields[t.Name()][field]
}

// about returns what is said of a type.
func (c *comments) about(t reflect.Type) string {
	if p := c.read(t.PkgPath()); p != nil {
		return p.types[t.Name()]
	}
	return ""
}

// constants returns the values of the constants of a string type, in the order
// of the source.
func (c *comments) constants(t reflect.Type) []string {
	if p := c.read(t.PkgPath()); p != nil {
		return p.consts[t.Name()]
	}
	return nil
}

// read parses a package, once. It returns nil for one of another module.
func (c *comments) read(path string) *spoken {
	if p, ok := c.packages[path]; ok {
		return p
	}
	inner, ok := strings.CutPrefix(path, c.module)
	if !ok || path == "" {
		return nil
	}
	p := &spoken{types: map[string]string{}, fields: map[string]map[string]string{}, consts: map[string][]string{}}
	c.packages[path] = p
	files, _ := fs.Glob(os.DirFS(filepath.Join(c.dir, inner)), "*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(c.dir, inner, file), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			continue // it does not compile, and that is told elsewhere
		}
		for _, decl := range f.Decls {
			if g, ok := decl.(*ast.GenDecl); ok {
				p.declare(g)
			}
		}
	}
	return p
}

func (p *spoken) declare(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			p.types[s.Name.Name] = firstOf(s.Doc, g.Doc)
			if st, ok := s.Type.(*ast.StructType); ok {
				p.fields[s.Name.Name] = fieldComments(st)
			}
		case *ast.ValueSpec:
			kind, ok := s.Type.(*ast.Ident)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, v := range s.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						p.consts[kind.Name] = append(p.consts[kind.Name], text)
					}
				}
			}
		}
	}
}

func fieldComments(st *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, f := range st.Fields.List {
		for _, name := range f.Names {
			out[name.Name] = withoutName(firstOf(f.Doc, f.Comment), name.Name)
		}
	}
	return out
}

// firstOf returns the first comment that says something, in one line.
func firstOf(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
			return text
		}
	}
	return ""
}

// withoutName leaves out that the comment above a field begins with its name.
func withoutName(text, name string) string {
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(text, name+verb); ok {
			return strings.TrimSuffix(rest, ".")
		}
	}
	return text
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
