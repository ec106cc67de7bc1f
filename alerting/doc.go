// Package alerting turns alerts into incidents and tells people of them.
//
// It has two halves, with the journal between them. Incidents stands left of
// the journal: it reads the states of alerts and keeps one open incident for
// each service that is unwell. Outbox stands right of it: it reads what
// happened to each incident and puts it before people, one message for each
// incident and destination, edited in place, with the story in its thread. A
// slow channel therefore delays nothing but itself.
//
// Emergency is the way to people when the journal itself cannot be written.
package alerting
