//go:build !linux

package plane

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C does not reach
// it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
