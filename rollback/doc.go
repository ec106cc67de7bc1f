// Package rollback takes a service back to a known-good revision when a release
// has broken it, and proves that this helped.
//
// The Controller judges, a Platform obeys. Every step of the decision is a
// named Guard whose answer is journalled; every act has a durable intent before
// it. The Controller works from levels, not edges: each step reads the present
// state, which is the fold of the journal and what the platform says, and does
// the next thing, so that it can be killed and restarted at any instruction.
package rollback
