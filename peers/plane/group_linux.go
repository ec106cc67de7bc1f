package plane

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C does not reach
// it. When the thread that started it is gone, because this process was killed,
// the kernel ends it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
