//go:build !linux

package main

import "syscall"

// maxrssUnit is what getrusage counts resident memory in, in bytes.
const maxrssUnit = 1

// tied puts a child into a process group of its own.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
