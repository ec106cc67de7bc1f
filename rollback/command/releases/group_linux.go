package releases

import "syscall"

// ownGroup gives a child its own process group, and lets the kernel end it
// when the thread that has started it is gone: a supervisor that was killed
// leaves no release behind that would hold its successor's port.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
