package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
)

// A spec is what Belay keeps of a content that it has seen running.
type spec struct {
	Template template          `json:"template"`
	Digests  map[string]string `json:"digests,omitempty"` // container → digest that ran
	Key      []byte            `json:"key,omitempty"`     // of the fingerprints
	Prints   map[string]string `json:"prints,omitempty"`  // "ConfigMap name" → keyed hash of its data
}

// A candidate is a revision with the template that brings it back.
type candidate struct {
	belay.Revision
	spec
}

// Revisions lists the workload's own history, newest first, and then what Belay
// itself has kept and Kubernetes has forgotten.
func (p *Platform) Revisions(ctx context.Context, t belay.Target) ([]belay.Revision, error) {
	s, err := p.read(ctx, false)
	if err != nil {
		return nil, err
	}
	all := p.candidates(&s, t)
	out := make([]belay.Revision, len(all))
	for i := range all {
		if err := p.examine(ctx, &all[i]); err != nil {
			return nil, err
		}
		out[i] = all[i].Revision
	}
	return out, nil
}

// candidates returns everything whose template is known, once each.
func (p *Platform) candidates(s *seen, t belay.Target) []candidate {
	var out []candidate
	place := map[belay.Content]bool{}
	add := func(c candidate) {
		if !place[c.Content] {
			place[c.Content] = true
			out = append(out, c)
		}
	}
	now := belay.Revision{Content: s.Content, Version: s.Template.version()}
	for _, o := range s.Old {
		if o.Content == s.Content {
			now.Created = o.Created
			break
		}
	}
	add(candidate{now, p.kept(t, s.Content, s.Template)})
	for _, o := range s.Old {
		add(candidate{belay.Revision{Content: o.Content, Version: o.Template.version(), Created: o.Created}, p.kept(t, o.Content, o.Template)})
	}
	if p.opts.Specs == nil {
		return out
	}
	more, err := p.opts.Specs.List(t)
	if err != nil {
		p.log.Warn("the kept templates cannot be read", "service", t.Service.String(), "err", err)
	}
	for _, r := range more {
		if k := p.kept(t, r.Content, nil); k.Template != nil && k.Template.content() == r.Content {
			add(candidate{r, k})
		}
	}
	return out
}

// kept returns what was kept of a content, with the platform's own template
// where it has one.
func (p *Platform) kept(t belay.Target, c belay.Content, own template) spec {
	k := spec{Template: own}
	if p.opts.Specs == nil {
		return k
	}
	_, text, err := p.opts.Specs.Get(t, c)
	if err != nil {
		if !errors.Is(err, rollback.ErrNoSpec) {
			p.log.Warn("a kept template cannot be read", "service", t.Service.String(), "content", string(c), "err", err)
		}
		return k
	}
	var have spec
	if err := json.Unmarshal(text, &have); err != nil {
		p.log.Warn("a kept template cannot be read", "service", t.Service.String(), "content", string(c), "err", err)
		return k
	}
	if own != nil {
		have.Template = own
	}
	return have
}

// examine says whether a revision can be restored, and what has changed around
// it since it ran.
func (p *Platform) examine(ctx context.Context, c *candidate) error {
	pod, err := c.Template.pod()
	if err != nil {
		c.Missing, c.Detail = true, err.Error()
		return nil //nolint:nilerr // it is a property of this revision
	}
	gone, changed, err := p.compare(ctx, referencesOf(pod), c.spec)
	if err != nil {
		return err
	}
	_, unknown := c.Template.pin(c.Digests)
	for _, container := range pod.Spec.Containers {
		if tag := tagOf(container.Image); contains(unknown, container.Name) && (tag == "" || tag == "latest") {
			c.Missing, c.Detail = true, fmt.Sprintf("the image %s of container %s names no version, and Belay never saw which one ran", container.Image, container.Name)
			return nil
		}
	}
	switch {
	case len(gone) > 0:
		c.Missing, c.Detail = true, list(gone)+", which it needs, is gone"
		if len(gone) > 1 {
			c.Detail = list(gone) + ", which it needs, are gone"
		}
	case len(changed) > 0:
		c.Missing = p.cfg.ConfigChanged == ConfigRefuse
		c.Detail = list(changed) + " changed since it ran last: going back brings the pod template back, not their older data"
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// keep remembers what runs: its template at once, its digests and the
// fingerprints of its configuration while it is converged. What a rollback has
// put in place under digests was kept before.
func (p *Platform) keep(ctx context.Context, s *seen, t belay.Target) error {
	if p.opts.Specs == nil {
		return nil
	}
	k := p.kept(t, s.Content, nil)
	converged := s.progress(p.kind).Progress == belay.Converged
	if k.Template != nil && !converged {
		return nil
	}
	if s.Template.content() == s.Content {
		k.Template = s.Template
	}
	if k.Template == nil {
		return nil
	}
	if len(k.Key) == 0 {
		k.Key = []byte(rand.Text())
	}
	if converged {
		now, _ := s.split(p.kind)
		if k.Digests == nil {
			k.Digests = map[string]string{}
		}
		maps.Copy(k.Digests, digestsOf(now))
	}
	pod, err := k.Template.pod()
	if err != nil {
		return err
	}
	prints, err := p.fingerprint(ctx, referencesOf(pod), k.Key)
	if err != nil {
		return err
	}
	if len(prints) > 0 {
		k.Prints = prints
	}
	return p.opts.Specs.Keep(t, belay.Revision{Content: s.Content, Version: s.Template.version(), Created: p.changes.of(s)}, jsonOf(k))
}
