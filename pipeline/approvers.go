package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/strict"
	"github.com/belaydev/belay/web"
)

// checkApprovers sees that everybody who may approve is one of people.
func (c *Config) checkApprovers(doc *strict.Doc) strict.Problems {
	var ps strict.Problems
	known := []string{}
	for _, p := range c.Web.People() {
		known = append(known, p.Name)
		for _, g := range p.Groups {
			known = append(known, "@"+g)
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	allowed := strings.Join(known, ", ")
	if allowed == "" {
		allowed = "names of people; this file has none"
	}
	for i, s := range c.Services {
		for j, a := range s.Approvers {
			if !slices.Contains(known, a) {
				ps = append(ps, doc.At(fmt.Sprintf("approvers names %q, who is none of people and no group of theirs", a), allowed, "services", i, "owners", "approvers", j))
			}
		}
	}
	return ps
}

// approvedBy says whether somebody is among those who may order and approve
// rollbacks of the service. Where it names nobody, nobody is.
func (s Service) approvedBy(who web.Person) bool {
	return slices.ContainsFunc(s.Approvers, func(a string) bool {
		group, isGroup := strings.CutPrefix(a, "@")
		return a == who.Name || isGroup && slices.Contains(who.Groups, group)
	})
}

// serviceOf returns the service's entry of the configuration.
func (c *Config) serviceOf(id belay.ServiceID) (Service, bool) {
	i := slices.IndexFunc(c.Services, func(s Service) bool { return s.ID == id })
	if i < 0 {
		return Service{}, false
	}
	return c.Services[i], true
}

func (c *Config) person(name string) (web.Person, bool) {
	people := c.Web.People()
	i := slices.IndexFunc(people, func(p web.Person) bool { return p.Name == name })
	if i < 0 {
		return web.Person{}, false
	}
	return people[i], true
}

// mayApprove says why somebody may not order or approve a rollback of a
// service. A person must be one of its approvers, where it names any; what
// holds a token of its own, such as a pipeline, has shown by its scope that it
// may. rb is the rollback that is approved, nil for an order.
func (p *parts) mayApprove(id belay.ServiceID, actor string, rb *belay.Rollback) error {
	s, known := p.cfg.serviceOf(id)
	if !known {
		return nil // the controller says so, with the services that there are
	}
	if who, ok := p.cfg.person(actor); ok && len(s.Approvers) > 0 && !s.approvedBy(who) {
		return fmt.Errorf("%w: %s is none of the approvers of %s (%s)", rollback.ErrRefused, actor, id, strings.Join(s.Approvers, ", "))
	}
	if rb != nil && s.FourEyes && p.deployed(*rb, actor) {
		return fmt.Errorf("%w: %s deployed %s, so somebody else has to approve taking it back", rollback.ErrRefused, actor, rb.From)
	}
	return nil
}

// deployed says whether somebody put in place what a rollback would take away,
// by what is known now: a pipeline may have said so after the proposal.
func (p *parts) deployed(rb belay.Rollback, actor string) bool {
	return len(p.base.view.Deployments(1, func(d belay.Deployment) bool {
		name, _, _ := strings.Cut(d.Actor, " (") // a pipeline's word for it: "ada (by the token of ci)"
		return d.Service == rb.Target.Service && d.To.Content == rb.From.Content && strings.EqualFold(name, actor)
	})) > 0
}

// approve uses a person's approval, if it is theirs to give.
func (p *parts) approve(ctx context.Context, id, plan, actor string) error {
	if rb, ok := p.base.view.Rollback(id); ok {
		if err := p.mayApprove(rb.Target.Service, actor, &rb); err != nil {
			return err
		}
	}
	return p.rollback.Approve(ctx, id, plan, actor)
}

// errNobody marks a name that is none of people.
var errNobody = errors.New("nobody of that name is among people")

// assignable says why somebody cannot be asked to look after an incident. Where
// the configuration names no people, everybody can.
func (c *Config) assignable(name string) error {
	people := c.Web.People()
	if _, known := c.person(name); known || len(people) == 0 {
		return nil
	}
	names := make([]string, len(people))
	for i, p := range people {
		names[i] = p.Name
	}
	return fmt.Errorf("%q: %w; allowed: %s", name, errNobody, strings.Join(names, ", "))
}
