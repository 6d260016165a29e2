// Package rig brings up what the demo, the chaos and the bench run against on this
// machine: a real kube-apiserver and etcd, managers as processes, and what they all
// serve as metrics. Everything that it starts ends with the process that has
// started it, even if that one is killed.
//
// A command calls Prepare first of all, then makes a Rig, and starts a ControlPlane
// in it, and Managers with its ManagerKubeconfig.
package rig
