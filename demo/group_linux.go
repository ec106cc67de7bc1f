package demo

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C reaches the
// demo alone, which then ends everything in order. When the thread that started
// the process is gone, because the demo was killed, the kernel ends the process.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
