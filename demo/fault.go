package demo

import (
	"fmt"
	"slices"
	"strings"
)

// A Fault is what is wrong with the version that the demo releases.
type Fault string

// The faults that are built.
const (
	FaultErrors Fault = "errors" // about 8 % of requests are answered with 500
	FaultCrash  Fault = "crash"  // the process ends about a second after its first request, again and again
	FaultNone   Fault = "none"   // nothing is wrong: Belay must leave the release alone
)

// Faults lists the faults that are built, in the order in which they are named
// to people.
var Faults = []Fault{FaultErrors, FaultCrash, FaultNone}

// ParseFault reads the name of a fault. The error names those that are built.
func ParseFault(s string) (Fault, error) {
	f := Fault(s)
	if slices.Contains(Faults, f) {
		return f, nil
	}
	names := make([]string, len(Faults))
	for i, known := range Faults {
		names[i] = string(known)
	}
	built := strings.Join(names, ", ")
	if s == "latency" || s == "leak" {
		return "", fmt.Errorf("fault %q is planned and not built yet; built are: %s", s, built)
	}
	return "", fmt.Errorf("fault %q is unknown; built are: %s", s, built)
}

// explained says what the fault looks like from outside.
func (f Fault) explained() string {
	switch f {
	case FaultErrors:
		return "it fails one request in twelve"
	case FaultCrash:
		return "it dies about a second after its first request, and again after each restart"
	default:
		return "nothing is wrong with it"
	}
}
