// Package rules turns samples into alerts: it reads Prometheus rule files,
// evaluates them over any storage.Queryable when samples arrive, and leads
// each finding through its life (pending, firing, resolved).
//
// Three things go beyond Prometheus. Every transition is journalled before it
// counts, so that a restart loses nothing. What cannot be known is not taken
// for healthy: while a query fails, or the targets that a rule reads do not
// answer, its alerts are held as they are. And each evaluation leaves a
// judgement for each label set, also where nothing is wrong, so that others
// can ask for proof of health and not just for the absence of alerts.
//
// Load reads files into a Set, New makes an Engine of it, Engine.Run evaluates
// until its context ends. Step is the life-cycle alone, as a pure function.
package rules
