package dockerd

import "syscall"

// ownGroup keeps Ctrl-C away from the engine, and has the kernel ask it to end
// when the program that started it was killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func unmount(path string) { _ = syscall.Unmount(path, 0) }
