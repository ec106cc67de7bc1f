package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestPicturesOfTheDocumentationAreWhatTheDetectorSays(t *testing.T) {
	for _, p := range pictures() {
		got, err := p.draw()
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("..", "docs", "images", p.file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the detector says now; go run ./scores -pictures docs/images", p.file)
		}
	}
}
