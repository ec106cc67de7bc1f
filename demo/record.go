package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belaydev/belay/rollback/command/releases"
)

// Annotations of a Deployment that say who changed it.
const (
	releaseNote   = "shop.invalid/released" // by a person, with a time
	operationNote = "belay.dev/operation"   // by Belay, JSON with an id
)

// releasedAs are the annotations with which a person releases a version.
func releasedAs(version string) map[string]string {
	return map[string]string{
		releaseNote: time.Now().UTC().Format(time.RFC3339Nano), "kubernetes.io/change-cause": "release " + version,
	}
}

// A recordOfDeployment is written from what the API server tells of a
// Deployment, state after state: what changed its pod template, and which
// operations came again and changed nothing.
type recordOfDeployment struct {
	takesUp func(version string)
	file    *os.File

	mu      sync.Mutex
	changes []releases.Change
}

func (r *recordOfDeployment) open(path string, takesUp func(string)) (err error) {
	r.takesUp = takesUp
	r.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

func (r *recordOfDeployment) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func (r *recordOfDeployment) all() []releases.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]releases.Change(nil), r.changes...)
}

// see compares a state of the Deployment with the one before, which is nil at
// first.
func (r *recordOfDeployment) see(before, now any) {
	newer, ok := now.(*appsv1.Deployment)
	if !ok {
		return
	}
	older, _ := before.(*appsv1.Deployment)
	change, ok := changeBetween(older, newer)
	if !ok {
		return
	}
	if !change.Repeat {
		r.takesUp(nameOf(change.To))
	}
	change.At = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, change)
	_, _ = fmt.Fprintln(r.file, change) // for people to read; the demo goes by what it holds
}

// changeBetween says what happened between two states that follow each other,
// and whether anything did that matters here.
func changeBetween(older, newer *appsv1.Deployment) (releases.Change, bool) {
	c := releases.Change{By: releases.ByOutside, From: "-", To: tagOf(newer.Spec.Template)}
	notes := map[string]string{}
	if older != nil {
		c.From, notes = tagOf(older.Spec.Template), older.Annotations
	}
	operation := newer.Annotations[operationNote] != notes[operationNote]
	switch {
	case newer.Annotations[releaseNote] != "" && newer.Annotations[releaseNote] != notes[releaseNote]:
		c.By = releases.ByDeploy
	case operation:
		var stamp struct{ ID string }
		if err := json.Unmarshal([]byte(newer.Annotations[operationNote]), &stamp); err == nil && stamp.ID != "" {
			c.By = stamp.ID
		}
	}
	if c.From != c.To {
		return c, true
	}
	c.From, c.Repeat = "", true
	return c, operation
}

// tagOf names what a pod template runs: VERSION@HASH.
func tagOf(template corev1.PodTemplateSpec) string {
	text, err := json.Marshal(template)
	if err != nil {
		return "?@" + err.Error()
	}
	sum := sha256.Sum256(text)
	image, _, _ := strings.Cut(template.Spec.Containers[0].Image, "@")
	return image[strings.LastIndexByte(image, ':')+1:] + "@" + hex.EncodeToString(sum[:6])
}
