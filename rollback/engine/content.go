package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/distribution/reference"

	"github.com/belaydev/belay"
)

// VersionLabel is the label of an image or a container by which people name
// what is in it (OCI image specification, annotations).
const VersionLabel = "org.opencontainers.image.version"

// Document is a JSON object in which nothing that is empty is left, so that a
// field that a newer engine adds changes no hash while nobody uses it.
type Document map[string]any

// Describe turns a value into a Document.
func Describe(v any) (Document, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // durations and sizes stay exact
	var doc Document
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	doc.Prune()
	return doc, nil
}

// Prune removes what is empty, all the way down.
func (d Document) Prune() {
	for k, v := range d {
		if v = pruned(v); v == nil {
			delete(d, k)
		} else {
			d[k] = v
		}
	}
}

func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		Document(v).Prune()
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			if inner, ok := v[i].(map[string]any); ok {
				Document(inner).Prune()
			}
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case json.Number:
		if v == "0" {
			return nil
		}
	}
	return v
}

// At returns the document below a key; an empty one where there is none, which
// is then not part of d.
func (d Document) At(keys ...string) Document {
	for _, k := range keys {
		inner, _ := d[k].(map[string]any)
		d = inner
	}
	if d == nil {
		return Document{}
	}
	return d
}

// Drop removes the values that say what would hold anyway.
func (d Document) Drop(defaults map[string]string) {
	for k, v := range defaults {
		if have, ok := d[k]; ok && fmt.Sprint(have) == v {
			delete(d, k)
		}
	}
}

// Content returns the hash of the document.
func (d Document) Content() (belay.Content, error) {
	d.Prune()
	text, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	return belay.Content(fmt.Sprintf("sha256:%x", sha256.Sum256(text))), nil
}

// Pinned returns the digest by which an image is named, "" where only a tag
// names it: a tag may name something else tomorrow.
func Pinned(image string) string {
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		return ""
	}
	if d, ok := ref.(reference.Digested); ok {
		return d.Digest().String()
	}
	return ""
}

// Identity returns what of an image's name makes content: the repository and
// the digest where there is one, otherwise the repository and the tag.
func Identity(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	if d, ok := ref.(reference.Digested); ok {
		return ref.Name() + "@" + d.Digest().String()
	}
	return reference.TagNameOnly(ref).String()
}

// Version returns what people call content: the label of the OCI image
// specification, otherwise the image's tag, otherwise nothing.
func Version(image string, labels map[string]string) string {
	if v := labels[VersionLabel]; v != "" {
		return v
	}
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	if tagged, ok := ref.(reference.Tagged); ok {
		return tagged.Tag()
	}
	return ""
}
