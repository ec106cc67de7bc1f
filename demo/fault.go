package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Fault is what is wrong with the version that the demo releases.
type Fault string

// The faults that there are.
const (
	FaultErrors  Fault = "errors"  // about 8 % of requests are answered with 500
	FaultLatency Fault = "latency" // every order takes a quarter of a second longer
	FaultCrash   Fault = "crash"   // the process ends about a second after its first request, again and again
	FaultLeak    Fault = "leak"    // every order makes the next one a little slower
	FaultNone    Fault = "none"    // nothing is wrong: Belay must leave the release alone
)

// Faults lists the faults in the order in which they are named to people.
var Faults = []Fault{FaultErrors, FaultLatency, FaultCrash, FaultLeak, FaultNone}

// ParseFault reads the name of a fault. The error names those that there are.
func ParseFault(s string) (Fault, error) {
	f := Fault(s)
	if slices.Contains(Faults, f) {
		return f, nil
	}
	names := make([]string, len(Faults))
	for i, known := range Faults {
		names[i] = string(known)
	}
	return "", fmt.Errorf("fault %q is unknown; there are: %s", s, strings.Join(names, ", "))
}

// explained says what the fault looks like from outside.
func (f Fault) explained() string {
	switch f {
	case FaultErrors:
		return "it fails one request in twelve"
	case FaultLatency:
		return "it takes a quarter of a second longer for each order"
	case FaultCrash:
		return "it dies about a second after its first request, and again after each restart"
	case FaultLeak:
		return "with each order it gets a little slower, which no threshold sees"
	default:
		return "nothing is wrong with it"
	}
}

// began says what of it customers met first.
func (f Fault) began() string {
	switch f {
	case FaultLatency:
		return "gives its first slow answer"
	case FaultLeak:
		return "takes its first order, and gets slower from now on"
	default:
		return "gives its first bad answer"
	}
}

// since is when customers first met the fault in a stint, zero if they have not.
func (f Fault) since(s Stint) time.Time {
	switch f {
	case FaultLatency:
		return s.FirstSlow
	case FaultLeak:
		return s.First
	default:
		return s.FirstBad
	}
}

// tempo is the one in which people watch the fault: what is learned from history
// needs some.
func (f Fault) tempo() tempo {
	t := stage
	if f == FaultLeak {
		t.Soak = 40 * time.Second
	}
	return t
}

// harm sums up what customers had of it.
func (f Fault) harm(s Stint) string {
	all := s.Good + s.Bad()
	switch f {
	case FaultLatency:
		return fmt.Sprintf("%d of the %d requests that met %s were slow.", s.Slow, all, s.Version)
	case FaultLeak:
		return fmt.Sprintf("%d requests met %s; %d of them failed, and %d took %s or longer.", all, s.Version, s.Bad(), s.Slow, slowAnswer)
	default:
		return fmt.Sprintf("%d of the %d requests that met %s failed.", s.Bad(), all, s.Version)
	}
}
