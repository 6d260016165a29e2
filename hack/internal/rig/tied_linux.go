package rig

import (
	"os"
	"syscall"
)

// maxrssUnit is what getrusage counts resident memory in, in bytes.
const maxrssUnit = 1024

// tied has a child die with the thread that starts it.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// dieWithParent has this process get a signal when the one that started it ends.
func dieWithParent(signal syscall.Signal) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(signal), 0); errno != 0 {
		return errno
	}
	return nil
}

// EndWithMake has a command that make has started end when make is killed.
func EndWithMake() {
	if os.Getenv("MAKELEVEL") != "" {
		_ = dieWithParent(syscall.SIGTERM)
	}
}
