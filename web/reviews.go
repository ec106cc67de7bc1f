package web

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/belaydev/belay"
)

// maxReviewFile is the largest file of a review that is served.
const maxReviewFile = 4 << 20

// drawingPolicy lets a drawing use its own styles, and do nothing else.
const drawingPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"

// reviewFile reads the first file of a review with that extension. Only files
// that the journal names are read, and only inside the directory of reviews.
func (s *Server) reviewFile(review belay.Review, ext string) ([]byte, error) {
	i := slices.IndexFunc(review.Files, func(name string) bool { return isBaseName(name) && path.Ext(name) == ext })
	if i < 0 || s.opts.ReviewDir == "" {
		return nil, fmt.Errorf("a %s file: %w", ext, fs.ErrNotExist)
	}
	root, err := os.OpenRoot(s.opts.ReviewDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Lstat(review.Files[i])
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxReviewFile {
		return nil, errors.New(review.Files[i] + " is not a regular file of a bearable size")
	}
	f, err := root.Open(review.Files[i])
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxReviewFile))
}

// isBaseName reports whether a name stays in its directory, on any system.
func isBaseName(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, `/\`+"\x00") && filepath.Base(name) == name
}

// reviewBody returns a review as HTML. HTML inside the Markdown is left out,
// the chart is taken from this server, and other pictures are not shown.
func (s *Server) reviewBody(review belay.Review) (template.HTML, error) {
	source, err := s.reviewFile(review, ".md")
	if err != nil {
		return "", err
	}
	md := goldmark.New(
		goldmark.WithExtensions(extension.GFM),
		goldmark.WithParserOptions(parser.WithASTTransformers(util.Prioritized(pictures{review}, 500))),
	)
	var out bytes.Buffer
	if err := md.Convert(source, &out); err != nil {
		return "", fmt.Errorf("reading a review as Markdown: %w", err)
	}
	return template.HTML(out.String()), nil //nolint:gosec // goldmark escapes text and leaves raw HTML out
}

// pictures points the chart of a review to where this server has it, and takes
// out every other picture.
type pictures struct{ review belay.Review }

// Transform implements parser.ASTTransformer.
func (p pictures) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var others []ast.Node
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		img, ok := n.(*ast.Image)
		if !ok || !entering {
			return ast.WalkContinue, nil
		}
		name := path.Base(string(img.Destination))
		if path.Ext(name) == ".svg" && slices.Contains(p.review.Files, name) {
			img.Destination = []byte(drawingURL(p.review.Incident))
		} else {
			others = append(others, n)
		}
		return ast.WalkContinue, nil
	})
	for _, n := range others {
		n.Parent().RemoveChild(n.Parent(), n)
	}
}

// pageReview serves a review, and its chart to who adds .svg.
func (s *Server) pageReview(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	review, ok := s.opts.View.Review(id)
	if ok {
		body, err := s.reviewBody(review)
		if err != nil {
			s.failReview(w, r, err)
			return
		}
		s.render(w, r, http.StatusOK, "review", "Review of "+id, reviewPage{Review: review, Body: body})
		return
	}
	if incident, isDrawing := strings.CutSuffix(id, ".svg"); isDrawing {
		if review, ok = s.opts.View.Review(incident); ok {
			s.drawing(w, r, review)
			return
		}
	}
	s.fail(w, r, http.StatusNotFound, "there is no review of incident "+id)
}

type reviewPage struct {
	Review belay.Review
	Body   template.HTML
}

func (s *Server) drawing(w http.ResponseWriter, r *http.Request, review belay.Review) {
	svg, err := s.reviewFile(review, ".svg")
	if err != nil {
		s.failReview(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", drawingPolicy)
	_, _ = w.Write(svg)
}
