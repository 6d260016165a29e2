package main

import (
	"os"
	"syscall"
)

// tied has a child die with the demo, even if the demo is killed.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// dieWithParent has this process get a signal when the one that started it ends.
func dieWithParent(sig syscall.Signal) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(sig), 0); errno != 0 {
		return errno
	}
	return nil
}

// endWithMake has a demo that make has started end when make is killed.
func endWithMake() {
	if os.Getenv("MAKELEVEL") != "" {
		_ = dieWithParent(syscall.SIGTERM)
	}
}
