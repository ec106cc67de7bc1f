//go:build !linux

package dockerd

import "syscall"

func ownGroup() *syscall.SysProcAttr { return nil }

func unmount(string) {}

func memory() string { return "" }
