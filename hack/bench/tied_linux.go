package main

import "syscall"

// maxrssUnit is what getrusage counts resident memory in, in bytes.
const maxrssUnit = 1024

// tied has a child die with the bench, even if the bench is killed.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
