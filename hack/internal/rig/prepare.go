package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// prepared tells whether Prepare was called: without it a link to this program
// would do again what this program does.
var prepared bool

// Prepare must be the first call of a command or TestMain that makes a Rig. What envtest starts by itself begins as this very program, which
// is tied to its parent before it becomes another.
func Prepare() {
	prepared = true
	var err error
	switch filepath.Base(os.Args[0]) {
	case etcd, apiServer:
		err = becomeTied(os.Args[0] + realSuffix)
	case janitorName:
		err = clean(os.Args[1])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0]+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// this is the path of this program, which has to be prepared for what it is told
// under another name.
func this() (string, error) {
	if !prepared {
		return "", errors.New("rig.Prepare was not called: call it first in main or TestMain")
	}
	return os.Executable()
}

// realSuffix is that of the link to what a link to this program becomes.
const realSuffix = ".real"

// link makes a link to this program that becomes another one, tied to whoever
// starts it.
func link(path, program string) error {
	self, err := this()
	if err != nil {
		return err
	}
	return errors.Join(os.Symlink(self, path), os.Symlink(program, path+realSuffix))
}

// becomeTied replaces this process by another program.
func becomeTied(program string) error {
	// The tie is a property of the thread that becomes the new program.
	runtime.LockOSThread()
	if err := dieWithParent(syscall.SIGKILL); err != nil {
		return err
	}
	return syscall.Exec(program, os.Args, os.Environ())
}
