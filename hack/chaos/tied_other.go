//go:build !linux

package main

import "syscall"

// tied puts a manager into a process group of its own.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
