package main

import "io"

// An environment is all that a command may touch of the process it runs in, so
// that tests can run commands side by side.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// Exit codes that commands share; see the table of commands.
const (
	exitRefused = 1 // no, with the reason
	exitUsage   = 3 // wrong usage, or the server could not be reached; never a verdict
)

// An exitError ends the process with its code. A nil err ends it without
// another word, for commands that have said everything already.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns what ended the command.
func (e *exitError) Unwrap() error { return e.err }
