//go:build unix && !linux

package releases

import "syscall"

// ownGroup gives a child its own process group. A supervisor that is killed
// leaves its release behind on this system.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
