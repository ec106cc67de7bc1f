package dockerd

import "syscall"

// ownGroup keeps Ctrl-C away from the engine, and has the kernel ask it to end
// when the program that started it was killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func unmount(path string) { _ = syscall.Unmount(path, 0) }

// memory is a folder in memory where there is plenty of it, otherwise "": an
// engine waits for its disk after everything that it does.
func memory() string {
	const folder, plenty = "/dev/shm", 8 << 30
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil || st.Bavail*uint64(st.Bsize) < plenty { //nolint:gosec // a size is not negative
		return ""
	}
	return folder
}
