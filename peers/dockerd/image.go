package dockerd

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/moby/moby/client"
)

// An Image is made from nothing: one static program.
type Image struct {
	Name    string   // such as shop:1.41.3
	Program string   // path of the program, which becomes /app
	Changes []string // further lines of a Dockerfile, such as CMD ["--version", "2"]
}

// Import makes an image.
func (e *Engine) Import(ctx context.Context, img Image) error {
	program, err := os.ReadFile(img.Program)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "app", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	} {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	out, err := e.API.ImageImport(ctx, client.ImageImportSource{Source: &b, SourceName: "-"}, img.Name, client.ImageImportOptions{
		Changes: append([]string{`ENTRYPOINT ["/app"]`}, img.Changes...),
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", img.Name, err)
	}
	defer func() { _ = out.Close() }()
	_, err = io.Copy(io.Discard, out) // it is there when all was said
	return err
}
