package plane

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
)

// An Image is what a pod's container runs: one program.
type Image struct {
	// Argv is the entrypoint: a container's command takes its place, a
	// container's args come after it. The process finds POD_IP, PORT (its first
	// containerPort, 8080 if it names none), POD_NAME and POD_NAMESPACE in its
	// environment, and $(POD_IP) and the like are replaced in Argv.
	Argv []string
}

// A Registry holds images by name and digest. Its methods may be called from
// several goroutines.
type Registry struct {
	mu      sync.Mutex
	images  map[string]Image  // by repository@digest
	digests map[string]string // by repository:tag
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{images: map[string]Image{}, digests: map[string]string{}}
}

// Push stores an image as repository:tag ("latest" when ref names none) and
// returns repository@sha256:…, under which it can be run as well. A tag that is
// pushed again means the newer image from then on; the older one stays under its
// digest.
func (r *Registry) Push(ref string, image Image) (digest string) {
	repository, tag, _ := split(ref)
	sum := sha256.Sum256([]byte(strings.Join(image.Argv, "\x00")))
	digest = repository + "@sha256:" + hex.EncodeToString(sum[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[digest] = image
	r.digests[repository+":"+tag] = digest
	return digest
}

// Remove takes an image away, as the cleaning of a registry does. Pods that run
// go on; a pod that starts gets ErrImagePull. ref is as in a pod.
func (r *Registry) Remove(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	repository, tag, digest := split(ref)
	if digest == "" {
		delete(r.digests, repository+":"+tag)
		return
	}
	delete(r.images, repository+"@"+digest)
}

// pull finds what a reference means now; a digest wins over a tag beside it.
func (r *Registry) pull(ref string) (image Image, digest string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	repository, tag, digest := split(ref)
	if digest == "" {
		digest = r.digests[repository+":"+tag]
	} else {
		digest = repository + "@" + digest
	}
	image, ok := r.images[digest]
	if !ok {
		return Image{}, "", fmt.Errorf("failed to pull and unpack image %q: not found", ref)
	}
	return image, digest, nil
}

// split takes repository[:tag][@digest] apart.
func split(ref string) (repository, tag, digest string) {
	repository, digest, _ = strings.Cut(ref, "@")
	tag = "latest"
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository, tag = repository[:i], repository[i+1:]
	}
	return repository, tag, digest
}
