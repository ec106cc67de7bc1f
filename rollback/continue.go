package rollback

// Continue takes over what another controller had in memory only: how long
// each revision has soaked, and how the last judgements went, of the services
// that both have. Run of the other must have ended, and that of this one not
// have begun. What its policy says of soaks and judgements holds from now on.
func (c *Controller) Continue(before *Controller) {
	for id, w := range c.workers {
		was := before.workers[id]
		if was == nil || was.svc.PlatformName != w.svc.PlatformName {
			continue
		}
		w.soak, w.history = was.soak, was.history
	}
}
