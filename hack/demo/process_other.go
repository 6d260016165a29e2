//go:build !linux

package main

import "syscall"

// tied puts a child into a process group of its own. There is no way here to
// have it die with a demo that is killed.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func dieWithParent(syscall.Signal) error { return nil }

func endWithMake() {}
