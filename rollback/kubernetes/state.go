package kubernetes

import (
	"context"

	"github.com/belaydev/belay"
)

// State reads the workload, its history and its pods.
func (p *Platform) State(ctx context.Context, t belay.Target) (belay.State, error) {
	s, err := p.read(ctx, true)
	if err != nil {
		return belay.State{}, err
	}
	return p.stateOf(&s, t), nil
}

func (p *Platform) stateOf(s *seen, t belay.Target) belay.State {
	how := s.progress(p.kind)
	op, _ := s.operation()
	return belay.State{
		Target:    t,
		Revision:  belay.Revision{Content: s.Content, Version: s.Template.version()},
		Token:     s.Object.GetResourceVersion(),
		Progress:  how.Progress,
		Reason:    how.Reason,
		Owner:     ownerOf(s.Object, p.cfg.AcceptOwner),
		Operation: op,
		ChangedAt: p.changes.of(s),
		At:        s.At,
	}
}
