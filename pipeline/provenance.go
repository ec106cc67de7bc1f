package pipeline

import (
	"strings"

	"github.com/belaydev/belay"
)

// foreign says why what an alert rests on is not only what Belay itself scraped
// and judged; "" when it is.
func (p *parts) foreign(a belay.Alert) string {
	if a.Source != "" {
		return "was sent in by " + a.Source
	}
	names, known := p.engine.Reads(a)
	if !known {
		return "is not judged by a rule of this Belay"
	}
	if p.source != nil {
		return "rests on samples of metrics.source, which Belay has not scraped itself"
	}
	var sent []string
	for _, name := range names {
		switch {
		case !p.base.collector.Pushed(name):
		case name == "":
			sent = append(sent, "any metric")
		default:
			sent = append(sent, name)
		}
	}
	if len(sent) == 0 {
		return ""
	}
	return "reads " + strings.Join(sent, ", ") + ", of which others sent in samples (/api/v1/write)"
}
