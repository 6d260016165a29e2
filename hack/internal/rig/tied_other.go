//go:build !linux

package rig

import "syscall"

// maxrssUnit is what getrusage counts resident memory in, in bytes.
const maxrssUnit = 1

// tied puts a child into a process group of its own. There is no way here to
// have it die with a parent that is killed.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func dieWithParent(syscall.Signal) error { return nil }

// EndWithMake does nothing here.
func EndWithMake() {}
