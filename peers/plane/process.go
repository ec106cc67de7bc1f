package plane

import (
	"os/exec"
	"runtime"
	"syscall"
)

// A process runs until it ends or is ended.
type process struct {
	path string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startProcess starts a command in a group of its own, of which nothing outlives
// this process.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{path: cmd.Path, cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = ownGroup()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // see ownGroup; the thread stays until the process has ended
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is read from ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// code returns how a process that has ended did so, as a shell counts it: 128
// and the signal when one ended it.
func (p *process) code() int {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the process and what it started, and waits until it is gone.
func (p *process) kill() {
	if !p.ended() {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL) // it may end at this moment
	}
	<-p.done
}
