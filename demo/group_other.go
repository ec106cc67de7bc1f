//go:build !linux

package demo

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C reaches the
// demo alone, which then ends everything in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
